#!/usr/bin/env python3
"""Times pulling images from a registry on this machine: rbuild, skopeo + umoci, buildah.

usage: bench/pull.py RBUILD [--state DIR] [--runs N] [--image NAME]...

Two images are made once and kept in DIR: `big` has 1 GB in six layers (an operating system, 40,000 small sources,
libraries, files that compress well and not at all, and a layer that removes and replaces), `base` has 200 MB in one.
Each layer is one gzip stream of level 6. They are served by Debian's docker-registry on a free port of the loopback
address. The tools take turns, each with a new store. All stores are removed in the end, because ext4 is slow to make
files where many were just removed; if DIR is in memory, each is removed at once.

Then the root file systems are compared file by file: kinds, modes, owners, times, links, bytes.

Needs, as root: docker-registry skopeo umoci buildah, of the packages of those names.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import socket
import stat
import statistics
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

EPOCH = 1_735_689_600
POOL_BYTES = 16 << 20
WORDS = 6000

# How archives mark a folder that hides what is below it; buildah's stores have these marks, and those of
# removed files, where the kernel's cannot be made.
OPAQUE = ".wh..wh..opq"


class Filling:
    """Bytes for files, always the same ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkjqxz_ETAOIN"
        weights = [1 / (place + 2) for place in range(len(letters))]
        lengths = [2, 3, 4, 5, 6, 7, 8, 9, 11]
        words = ["".join(self.random.choices(letters, weights, k=self.random.choice(lengths))) for _ in range(WORDS)]
        often = [1 / (place + 5) for place in range(WORDS)]
        ends = self.random.choices([" ", " ", " ", ";\n  ", " = ", "(", ") {\n", ".", ", "], k=POOL_BYTES // 6)
        drawn = self.random.choices(words, often, k=POOL_BYTES // 6)
        self.text = "".join(map("".join, zip(drawn, ends))).encode()
        self.noise = self.random.randbytes(POOL_BYTES)

    def piece(self, pool, size):
        parts = []
        while size > 0:
            start = self.random.randrange(len(pool) - 1)
            parts.append(pool[start : start + size])
            size -= len(parts[-1])
        return b"".join(parts)

    def source(self, size):
        """Text as in sources: a quarter of it when compressed."""
        return self.piece(self.text, size)

    def program(self, size):
        """As in libraries: runs of text, of noise and of zeros; half of it when compressed."""
        parts, left = [], size
        while left > 0:
            run = min(left, self.random.choice([512, 2048, 4096, 9000]))
            kind = self.random.random()
            pool = self.text if kind < 0.45 else self.noise if kind < 0.85 else None
            parts.append(self.piece(pool, run) if pool else bytes(run))
            left -= run
        return b"".join(parts)

    def random_bytes(self, size):
        return self.piece(self.noise, size)


class Layer:
    """A layer being written: its tar and its blob, both hashed."""

    def __init__(self, blobs):
        self.blobs = blobs
        self.path = blobs / "layer"
        self.file = open(self.path, "wb")
        self.packer = gzip.GzipFile("", "wb", 6, self.file, mtime=0)
        self.hash = hashlib.sha256()
        self.size = 0
        self.tar = tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20)
        self.directories = set()
        self.files = {}

    def write(self, data):
        self.hash.update(data)
        self.packer.write(data)
        self.size += len(data)
        return len(data)

    def add(self, name, data=None, **fields):
        info = tarfile.TarInfo(name)
        info.mtime = EPOCH + len(self.directories) % 10_000
        info.mode = 0o755 if data is None else 0o644
        for field, value in fields.items():
            setattr(info, field, value)
        if info.type == tarfile.LNKTYPE:
            # A second name of a file: tools differ on whose time and mode count, so they are the same.
            info.mtime, info.mode = self.files[info.linkname]
        self.files[name] = (info.mtime, info.mode)
        if data is None:
            self.tar.addfile(info)
        else:
            info.size = len(data)
            self.tar.addfile(info, io.BytesIO(data))

    def directory(self, path):
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            one = "/".join(parts[:end])
            if one not in self.directories:
                self.directories.add(one)
                self.add(one, type=tarfile.DIRTYPE)

    def tree(self, root, n_files, n_bytes, make, fan=40, **fields):
        """Many files of uneven sizes that add up to about `n_bytes`."""
        drawn = [make.__self__.random.lognormvariate(0, 1.2) for _ in range(n_files)]
        scale = n_bytes / sum(drawn)
        for number, part in enumerate(drawn):
            folder = f"{root}/p{number // (fan * 12):03}/d{number // fan % 12}"
            self.directory(folder)
            self.add(f"{folder}/f{number}.x", make(int(part * scale)), **fields)

    def finish(self):
        self.tar.close()
        self.packer.close()
        self.file.close()
        digest = file_hash(self.path)
        self.path.rename(self.blobs / digest)
        print(f"    layer {self.size / 1e6:7.1f} MB, {(self.blobs / digest).stat().st_size / 1e6:7.1f} MB as gzip", flush=True)
        return digest, "sha256:" + self.hash.hexdigest()


def file_hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def operating_system(layer, fill, n_bytes):
    layer.directory("etc")
    layer.add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    layer.directory("tmp")
    layer.tree("usr/share", 5000, n_bytes * 3 // 10, fill.source)
    layer.tree("usr/lib", 1500, n_bytes * 6 // 10, fill.program, mode=0o755)
    layer.tree("usr/bin", 400, n_bytes // 10, fill.program, mode=0o755)
    layer.directory("bin")
    for number in range(300):
        layer.add(f"bin/tool{number}", type=tarfile.SYMTYPE, linkname=f"../usr/bin/p000/d0/f{number}.x")
    for number in range(100):
        layer.add(f"usr/bin/alias{number}", type=tarfile.LNKTYPE, linkname=f"usr/lib/p000/d1/f{40 + number % 40}.x")
    layer.directory("var/mail")
    layer.add("var/mail/user", b"none\n", uid=1000, gid=8, mode=0o660)
    layer.directory("var/cache/lists")
    layer.tree("var/cache/lists", 40, 4 << 20, fill.source)


def sources(layer, fill):
    layer.tree("app/node_modules", 40_000, 170_000_000, fill.source, fan=25)


def libraries(layer, fill):
    layer.tree("usr/local/lib/python", 6000, 230_000_000, fill.program, uid=1000, gid=1000)


def noise(layer, fill):
    layer.directory("data")
    for number in range(2):
        layer.add(f"data/model{number}.bin", fill.random_bytes(90_000_000))


def tables(layer, fill):
    layer.directory("data")
    layer.add("data/table.csv", fill.source(160_000_000))
    layer.add("data/empty.img", bytes(60_000_000))


def changes(layer, fill):
    layer.directory("var/cache")
    layer.add("var/cache/.wh.lists", b"")
    layer.directory("usr/local/lib/python/p000/d1")
    layer.add("usr/local/lib/python/p000/d1/.wh..wh..opq", b"")
    layer.add("usr/local/lib/python/p000/d1/new.x", b"new\n")
    layer.tree("app/node_modules", 200, 2_000_000, fill.source, fan=25, mode=0o600)


IMAGES = {
    "big": [lambda layer, fill: operating_system(layer, fill, 220_000_000), sources, libraries, noise, tables, changes],
    "base": [lambda layer, fill: operating_system(layer, fill, 200_000_000)],
}


def make_image(folder, parts):
    """Writes an OCI layout, unless it is there."""
    if (folder / "index.json").exists():
        return
    print("    makes the image", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    fill = Filling(7)

    def put(content, kind):
        data = json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return entry(digest, kind)

    def entry(digest, kind):
        size = (blobs / digest).stat().st_size
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size}

    layers, diff_ids = [], []
    for part in parts:
        layer = Layer(blobs)
        part(layer, fill)
        digest, diff_id = layer.finish()
        layers.append(entry(digest, "layer.v1.tar+gzip"))
        diff_ids.append(diff_id)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "bench"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(config, "config.v1+json"),
        "layers": layers,
    }
    named = put(manifest, "manifest.v1+json") | {"annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


class Registry:
    """Debian's docker-registry on a free port."""

    def __init__(self, state):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        config = state / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {state}/registry}}}}\nhttp: {{addr: '{self.host}'}}\n"
        )
        log = open(state / "registry.log", "wb")
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/").close()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("the registry does not answer")

    def fill(self, name, layout):
        target = f"docker://{self.host}/bench/{name}:latest"
        call(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:latest", target])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def call(command, **environment):
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{command}\n{done.stdout.decode(errors='replace')[-2000:]}")
    return done.stdout.decode()


class Rbuild:
    """Fetched and unpacked in one command."""

    def __init__(self, binary):
        self.binary = binary

    def pull(self, store, image):
        call([self.binary, "pull", "--unpack", image], RBUILD_ROOT=store)

    def layers(self, store, image):
        """Folders of the layers, the base first."""
        found = json.loads(call([self.binary, "inspect", image], RBUILD_ROOT=store))
        diff_ids = found[0]["RootFS"]["Layers"]
        return [Path(store, "layers", diff_id.removeprefix("sha256:"), "tree") for diff_id in diff_ids]


class RbuildPull(Rbuild):
    """Fetched, checked and indexed; unpacked when a step needs it."""

    def pull(self, store, image):
        call([self.binary, "pull", image], RBUILD_ROOT=store)

    def layers(self, store, image):
        return None


class SkopeoUmoci:
    def pull(self, store, image):
        call(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{store}/layout:latest"])
        call(["umoci", "unpack", "--image", f"{store}/layout:latest", f"{store}/bundle"])

    def layers(self, store, image):
        return [Path(store, "bundle/rootfs")]


class Buildah:
    def __init__(self, state):
        self.policy = state / "policy.json"
        self.policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.containers = state / "containers.conf"
        self.containers.write_text('[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=20000:20000"]\n')

    def run(self, store, *words):
        config = Path(store, "storage.conf")
        config.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{store}/root"\nrunroot = "{store}/run"\n')
        command = ["buildah", *words]
        return call(command, CONTAINERS_CONF=str(self.containers), CONTAINERS_STORAGE_CONF=str(config))

    def pull(self, store, image):
        self.run(store, "pull", "-q", "--tls-verify=false", "--signature-policy", str(self.policy), image)

    def layers(self, store, image):
        known = {one["id"]: one for one in json.loads(Path(store, "root/overlay-layers/layers.json").read_text())}
        (pulled,) = json.loads(Path(store, "root/overlay-images/images.json").read_text())
        found, layer = [], pulled["layer"]
        while layer:
            found.append(Path(store, "root/overlay", layer, "diff"))
            layer = known[layer].get("parent")
        return found[::-1]


def root_file_system(layers):
    """What an overlay of the layers shows: path to what is to be compared."""
    seen = {}
    for layer in layers:
        below = set(seen)
        for folder, names, files in os.walk(layer):
            here = os.path.relpath(folder, layer)
            if OPAQUE in files or is_opaque(folder):
                for path in [path for path in below if path.startswith(here + "/")]:
                    seen.pop(path, None)
            for name in names + files:
                path, full = os.path.normpath(os.path.join(here, name)), os.path.join(folder, name)
                if name == OPAQUE:
                    continue
                if name.startswith(".wh."):
                    removed = os.path.normpath(os.path.join(here, name.removeprefix(".wh.")))
                    for gone in [old for old in below if old == removed or old.startswith(removed + "/")]:
                        seen.pop(gone, None)
                    continue
                found = os.lstat(full)
                if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                    for gone in [old for old in below if old == path or old.startswith(path + "/")]:
                        seen.pop(gone, None)
                    continue
                seen[path] = (full, found)
    return {path: describe(*what) for path, what in seen.items()}


def is_opaque(folder):
    marks = ("trusted.overlay.opaque", "user.overlay.opaque")
    return any(mark in os.listxattr(folder) and os.getxattr(folder, mark) == b"y" for mark in marks)


def describe(full, found):
    is_folder = stat.S_ISDIR(found.st_mode)
    content = None
    if stat.S_ISREG(found.st_mode):
        content = (found.st_size, file_hash(full))
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(full)
    # A folder that a later layer fills gets another time in tools that unpack over one another.
    mtime = None if is_folder else int(found.st_mtime)
    return (found.st_mode, found.st_uid, found.st_gid, mtime, content)


def compare(name, found, expected):
    differing = [path for path in sorted(found.keys() | expected.keys()) if found.get(path) != expected.get(path)]
    for path in differing[:10]:
        print(f"    {path}: {found.get(path)} instead of {expected.get(path)}")
    if differing:
        sys.exit(f"{name}: {len(differing)} of {len(expected)} paths differ")


def processor_seconds():
    """What all commands so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(tools, image, n_runs, scratch):
    times = {name: [] for name in tools}
    trees = {}
    for turn in range(n_runs):
        for name, tool in tools.items():
            store = str(scratch / f"{image.split('/')[-1]}-{name.replace(' ', '')}-{turn}")
            os.makedirs(store)
            os.sync()
            start, used = time.monotonic(), processor_seconds()
            tool.pull(store, image)
            times[name].append((time.monotonic() - start, processor_seconds() - used))
            print(f"    {name:18} {times[name][-1][0]:6.2f} s", flush=True)
            if turn == 0 and (layers := tool.layers(store, image)):
                trees[name] = root_file_system(layers)
            if call(["stat", "-f", "-c", "%T", store]).strip() == "tmpfs":
                shutil.rmtree(store)
    return times, trees


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rbuild")
    parser.add_argument("--state", type=Path, default=Path("/var/tmp/rbuild-bench-pull"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--image", action="append", choices=IMAGES)
    parser.add_argument("--tool", action="append", help="only these, by the beginning of their names")
    options = parser.parse_args()
    state = options.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    scratch = state / f"stores-{os.getpid()}"
    rbuild = os.path.abspath(options.rbuild)
    tools = {
        "rbuild --unpack": Rbuild(rbuild),
        "skopeo + umoci": SkopeoUmoci(),
        "buildah": Buildah(state),
        "rbuild": RbuildPull(rbuild),
    }
    if options.tool:
        tools = {name: tool for name, tool in tools.items() if any(name.startswith(start) for start in options.tool)}
    registry = Registry(state)
    try:
        for name in options.image or IMAGES:
            print(f"{name}:")
            make_image(state / name, IMAGES[name])
            registry.fill(name, state / name)
            times, trees = measure(tools, f"{registry.host}/bench/{name}:latest", options.runs, scratch)
            first, *others = trees
            for other in others:
                compare(other, trees[other], trees[first])
            medians = {tool: [statistics.median(part) for part in zip(*taken)] for tool, taken in times.items()}
            ours = next(iter(medians))
            for tool, (median, processor) in medians.items():
                taken = [wall for wall, _ in times[tool]]
                print(
                    f"  {tool:18} {median:6.2f} s ({min(taken):.2f}–{max(taken):.2f})  x {median / medians[ours][0]:.2f}"
                    f"   processor {processor:6.2f} s  x {processor / medians[ours][1]:.2f}"
                )
            print(f"  the same {len(trees[first])} paths in: {', '.join(trees)}")
    finally:
        registry.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
