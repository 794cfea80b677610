"""File trees in image archives: what is compared between tools, and with what must be there."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile

BUFFER = 1 << 20

# What builders need while a RUN runs and may leave in a layer.
SCAFFOLD = ("dev", "proc", "sys", "run", "etc/hosts", "etc/resolv.conf", "etc/hostname")


def read_tree(archive):
    """Path to (kind, mode, uid, gid, size, content or link target) of an OCI or Docker archive."""
    with tarfile.open(archive) as outer:
        tree = {}
        for member in layer_names(outer):
            apply_layer(tree, outer.extractfile(member))
    return tree


def layer_names(outer):
    def load(name):
        return json.load(outer.extractfile(name))

    def blob(descriptor):
        return "blobs/" + descriptor["digest"].replace(":", "/")

    names = {name.removeprefix("./") for name in outer.getnames()}
    if "index.json" in names:
        document = load("index.json")
        while "manifests" in document:
            document = load(blob(document["manifests"][0]))
        return [blob(layer) for layer in document["layers"]]
    return load("manifest.json")[0]["Layers"]


def apply_layer(tree, stream):
    magic = stream.read(4)
    stream.seek(0)
    if magic == b"\x28\xb5\x2f\xfd":
        unpack_zstd(tree, stream)
    elif magic[:2] == b"\x1f\x8b":
        apply_tar(tree, gzip.GzipFile(fileobj=io.BufferedReader(stream, BUFFER)))
    else:
        apply_tar(tree, stream)


def apply_tar(tree, stream):
    # Without large buffers Python is slower than the builders.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER) as layer:
        apply_entries(tree, layer)


def unpack_zstd(tree, stream):
    with tempfile.TemporaryFile() as packed:
        shutil.copyfileobj(stream, packed, BUFFER)
        packed.seek(0)
        with subprocess.Popen(["zstd", "-dc"], stdin=packed, stdout=subprocess.PIPE) as process:
            apply_tar(tree, process.stdout)


def apply_entries(tree, layer):
    hidden, added = [], {}
    for entry in layer:
        path = entry.name.removeprefix("./").strip("/")
        folder, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            hidden.append((folder, False))
        elif name.startswith(".wh."):
            hidden.append((f"{folder}/{name[4:]}".lstrip("/"), True))
        elif path not in ("", "."):
            added[path] = describe(layer, entry, added, tree)
            if not entry.isdir() and tree.get(path, ("",))[0] == "folder":
                hidden.append((path, True))
    for path, itself in hidden:
        for other in [other for other in tree if other.startswith(path + "/") or itself and other == path]:
            del tree[other]
    tree.update(added)


def describe(layer, entry, added, tree):
    if entry.islnk():
        target = entry.linkname.removeprefix("./").strip("/")
        return added.get(target) or tree.get(target)
    kind, content, size = "other", "", 0
    if entry.isreg():
        digest = hashlib.sha256()
        source = layer.extractfile(entry)
        while chunk := source.read(BUFFER):
            digest.update(chunk)
        kind, content, size = "file", digest.hexdigest(), entry.size
    elif entry.isdir():
        kind = "folder"
    elif entry.issym():
        kind, content = "link", entry.linkname
    mode = 0o777 if kind == "link" else entry.mode & 0o7777
    return (kind, mode, entry.uid, entry.gid, size, content)


def without_scaffold(tree):
    return {path: entry for path, entry in tree.items() if not path.startswith(SCAFFOLD)}


def missing(tree, expected):
    """The first file that is not there with the right content, or None."""
    for path, content in expected.items():
        entry = tree.get(path)
        if entry is None or entry[5] != content:
            return path
    return None


def difference(one, other):
    """The first path that differs between two trees, or None."""
    one, other = without_scaffold(one), without_scaffold(other)
    for path in sorted(one.keys() | other.keys()):
        if one.get(path) != other.get(path):
            return f"{path}: {one.get(path)} and {other.get(path)}"
    return None


def digest(tree):
    return hashlib.sha256(json.dumps(sorted(tree.items())).encode()).hexdigest()[:16]
