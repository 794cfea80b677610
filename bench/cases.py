"""The workloads: a folder with a Dockerfile and a context each, always the same bytes."""

import hashlib
import io
import random
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import places


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@dataclass
class Case:
    name: str
    folder: Path
    bases: list = field(default_factory=list)
    # Returns what must be in the image: path to sha256 of the file.
    expected: Callable = dict
    # Looks at the whole tree; returns what is wrong, or None.
    check: Callable = lambda tree: None

    def edited_file(self):
        return next((self.folder / "src").rglob("f0.js"))

    def edit(self):
        self.edited_file().write_bytes(b"// %d\n" % time.time_ns())


def write_files(root, count, total_bytes, seed=1):
    """Small text-like files of very different sizes, 20 in a folder."""
    chance = random.Random(seed)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz_", k=chance.randint(3, 11))) for _ in range(4000)]
    text = b" ".join(chance.choices(words, k=300_000))
    sizes = [chance.lognormvariate(0, 1.6) for _ in range(count)]
    scale = total_bytes / sum(sizes)
    for number, size in enumerate(sizes):
        folder = root / f"p{number // 400:03d}" / f"d{number // 20 % 20:02d}"
        if number % 20 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        length = max(1, int(size * scale))
        start = chance.randrange(len(text))
        content = (text[start:] + text * (length // len(text) + 1))[:length]
        (folder / f"f{number}.js").write_bytes(content)


def steps(count):
    return "FROM docker.io/bench/busybox\n" + "".join(f"RUN echo {i} > /s{i}\n" for i in range(count))


def wide(count, seconds):
    stages = (f"FROM docker.io/bench/busybox AS s{i}\nRUN sleep {seconds} && echo {i} > /out{i}\n" for i in range(count))
    copies = (f"COPY --from=s{i} /out{i} /out{i}\n" for i in range(count))
    return "".join(stages) + "FROM docker.io/bench/busybox\n" + "".join(copies)


TREE = "FROM scratch\nCOPY . /app\n"
PULL = 'FROM docker.io/bench/large\nRUN ["/bin/true"]\n'


def make_case(root, name, dockerfile):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "Dockerfile").exists():
        (folder / "Dockerfile").write_text(dockerfile)
    return folder


def prepare_quick(root):
    """The same shapes, small: for looking whether everything still works."""
    make_case(root, "steps5", steps(5))
    make_case(root, "wide3", wide(3, 0.2))
    make_case(root, "pull", PULL)
    folder = make_case(root, "tree200", TREE)
    if not (folder / "src").exists():
        write_files(folder / "src", 200, 2 << 20)
    return describe(root, ["steps5", "wide3", "tree200", "pull"])


def prepare_full(root):
    shared = places.shared_dir()
    if shared is None:
        places.die("the workloads are in the shared data: set RBUILD_SHARED, or give --quick")
    subprocess.run([sys.executable, "-B", shared / "bench" / "workloads.py", root], check=True)
    make_case(root, "pull", PULL)
    return describe(root, ["steps50", "steps200", "wide8", "tree4k", "tree40k", "big1g", "webapp", "chown", "pull"])


def describe(root, names):
    cases = {}
    for name in names:
        folder = root / name
        lines = (folder / "Dockerfile").read_text().splitlines()
        sources = [line.split()[1] for line in lines if line.startswith("FROM")]
        bases = sorted({source.removeprefix("docker.io/") for source in sources if source != "scratch"})
        case = cases[name] = Case(name, folder, bases)
        kind = name.rstrip("0123456789kg")
        case.expected, case.check = EXPECTATIONS.get(kind, lambda _: (dict, case.check))(folder)
    return cases


def no_objection(_tree):
    return None


def expect_steps(folder):
    count = (folder / "Dockerfile").read_text().count("\nRUN ")
    return lambda: {f"s{i}": sha256(b"%d\n" % i) for i in range(count)}, no_objection


def expect_wide(folder):
    count = (folder / "Dockerfile").read_text().count("\nRUN ")
    return lambda: {f"out{i}": sha256(b"%d\n" % i) for i in range(count)}, no_objection


def expect_tree(folder):
    def files():
        found = (path for path in folder.rglob("*") if path.is_file())
        return {f"app/{path.relative_to(folder)}": sha256(path.read_bytes()) for path in found}

    return files, no_objection


def expect_blob(folder):
    def blob():
        with open(folder / "blob", "rb") as file:
            return {"blob": hashlib.file_digest(file, "sha256").hexdigest()}

    return blob, no_objection


def expect_webapp(folder):
    def files():
        modules = {f"app/node_modules/m{i}.js": sha256(b"module %d\n" % i) for i in range(1, 2001)}
        parts = sorted((folder / "src" / "p000" / "d00").glob("*.js"))
        return modules | {"app/bundle.js": sha256(b"".join(part.read_bytes() for part in parts))}

    return files, no_objection


def expect_chown(_folder):
    def owners(tree):
        below = [path for path in tree if path.startswith(("usr/share/", "usr/lib/"))]
        wrong = next((path for path in below if tree[path][2:4] != (1000, 1000)), None)
        return f"{wrong} has another owner" if wrong or not below else None

    return dict, owners


def expect_pull(_folder):
    def count(tree):
        found = sum(path.startswith("data/") and entry[0] == "file" for path, entry in tree.items())
        return None if found else "no file of the base"

    return dict, count


EXPECTATIONS = {
    "steps": expect_steps,
    "wide": expect_wide,
    "tree": expect_tree,
    "big": expect_blob,
    "webapp": expect_webapp,
    "chown": expect_chown,
    "pull": expect_pull,
}


def large_base(work, total_bytes):
    """Tars of a base with many files, in four layers of the given size together."""
    layers = 4
    tars = [work / f"large-{total_bytes >> 10}-{number}.tar" for number in range(layers)]
    for number, tar in enumerate(tars):
        if tar.exists():
            continue
        chance = random.Random(number)
        text = chance.randbytes(1 << 20) + b"some words that compress well, " * (1 << 15)
        part = tar.with_suffix(".part")
        with tarfile.open(part, "w") as out:
            left = total_bytes // layers
            index = 0
            while left > 0:
                size = min(left, int(chance.lognormvariate(0, 1.5) * 16_000) + 1)
                entry = tarfile.TarInfo(f"data/l{number}/d{index // 100}/f{index}")
                entry.size, entry.mode = size, 0o644
                start = chance.randrange(len(text) - 1)
                content = (text[start:] + text * (size // len(text) + 1))[:size]
                out.addfile(entry, io.BytesIO(content))
                left -= size
                index += 1
        part.rename(tar)
    return tars
