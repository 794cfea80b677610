"""Where things are: the repository, the shared workloads, scratch space."""

import os
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target")


def die(message):
    sys.exit(f"error: {message}")


def shared_dir():
    """The shared data: $RBUILD_SHARED, else a folder `shared` beside the repository; or None."""
    path = Path(os.environ.get("RBUILD_SHARED") or REPO.parent / "shared")
    return path.resolve() if (path / "bench" / "workloads.py").is_file() else None


def base_tar(name):
    """The tar of a root file system that the tests use as well; made if it is not there yet."""
    import subprocess

    work = Path(os.environ.get("RBUILD_TEST_WORK") or TARGET / "house")
    tar = Path(os.environ.get("RBUILD_TEST_BASES") or work / "bases") / f"{name}.tar"
    if not tar.is_file():
        script = {"busybox": "make-base.sh", "debian": "make-debian-base.sh"}[name]
        subprocess.run([REPO / "scripts" / script, tar], check=True)
    return tar


def free_bytes(path):
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
