"""The builders that are compared: how each is started, what it is told, how it is stopped."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import places

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Steps that may run at once, for the builders that do not decide for themselves.
JOBS = "8"


def find(*names):
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":" + SYSTEM_PATH)
        if found:
            return found
    return None


class Tool:
    """A builder. `outputs` are the kinds of archives that it writes; None is its own store."""

    name, outputs = "", (None,)

    def __init__(self, work, registry):
        self.work, self.registry = work / self.name, registry
        self.work.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ)
        self.daemon = None

    def start(self):
        """Makes it ready; raises OSError where it cannot run."""

    def stop(self):
        """Ends what was started."""

    def build(self, case, output=None, out=None, no_cache=False):
        """The commands of one build."""
        raise NotImplementedError

    def archive(self, case, out):
        """The commands that write what was built into the own store as an archive."""
        raise NotImplementedError

    def forget(self):
        """Commands that remove all images and caches."""
        return []

    def fresh(self):
        """Whether a cold build starts with a new store, which is made by this."""
        return False

    def daemons(self):
        return [self.daemon.pid] if self.daemon else []

    def run(self, command):
        return subprocess.run(
            list(map(str, command)), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )

    def start_daemon(self, command, probe):
        with open(self.work / "log", "w") as log:
            self.daemon = subprocess.Popen(
                list(map(str, command)), env=self.env | {"PATH": SYSTEM_PATH}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )
        for _ in range(150):
            if self.run(probe).returncode == 0:
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.2)
        lines = (self.work / "log").read_text(errors="replace").splitlines()
        raise OSError(f"{self.name} does not start: {lines[-1] if lines else 'no message'}")

    def stop_daemon(self):
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None


class Rbuild(Tool):
    name = "rbuild"
    outputs = (None, "oci-gzip", "oci-zstd", "oci-uncompressed", "docker")
    program = None

    def start(self):
        if not Path(self.program).is_file():
            raise OSError(f"{self.program} is not there: cargo build --release")
        self.count = 0
        self.env |= client_settings(self.work, self.registry)
        self.fresh()

    def fresh(self):
        """The old store stays: files that were just deleted make the next ones slow on ext4."""
        self.count += 1
        self.env["RBUILD_ROOT"] = str(self.work / f"store{self.count}")
        return True

    def build(self, case, output=None, out=None, no_cache=False):
        command = [self.program, "build", "-t", f"bench-{case.name}"]
        if output == "docker":
            command += ["--output", f"type=docker,dest={out}"]
        elif output:
            command += ["--output", f"type=oci,compression={output[4:]},dest={out}"]
        # A fresh store knows nothing, so `no_cache` would change nothing.
        return [command + [case.folder]]

    def archive(self, case, out):
        return [[self.program, "save", "-o", out, f"bench-{case.name}"]]


class Buildah(Tool):
    name = "buildah"
    outputs = (None, "oci-gzip", "oci-zstd", "oci-uncompressed", "docker")

    program = None

    def start(self):
        self.program = find("buildah")
        runtime = find("runc", "crun")
        if not self.program or not runtime:
            raise OSError("buildah or its runtime is not installed")
        if os.geteuid() != 0:
            raise OSError("buildah is driven as root only")
        self.env |= client_settings(self.work, self.registry)
        limits = self.work / "containers.conf"
        limits.write_text('[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=20000:20000"]\n')
        storage = self.work / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.work}/root"\nrunroot = "{self.work}/run"\n'
        )
        self.policy = self.work / "policy.json"
        self.policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.env |= {"CONTAINERS_CONF": str(limits), "CONTAINERS_STORAGE_CONF": str(storage)}
        self.options = ["--runtime", runtime, "--network", "host", "--layers", "--jobs", JOBS]
        done = self.run([self.program, "images"])
        if done.returncode:
            raise OSError(f"buildah does not run here: {done.stdout.strip()}")

    def stop(self):
        if not self.program:
            return
        self.run([self.program, "rm", "--all"])
        self.run(["umount", self.work / "root" / "overlay"])

    def build(self, case, output=None, out=None, no_cache=False):
        tag = f"bench-{case.name}"
        command = [self.program, "bud", "--signature-policy", self.policy, *self.options, "-t", tag]
        command += ["--no-cache"] * no_cache
        return [command + [case.folder]] + ([self.push(tag, output, out)] if output else [])

    def push(self, tag, output, out):
        """Writes an archive; its default is gzip."""
        target = f"docker-archive:{out}:{tag}:latest" if output == "docker" else f"oci-archive:{out}"
        how = {"oci-uncompressed": ["-D"], "oci-zstd": ["--compression-format", "zstd"]}.get(output, [])
        return [self.program, "push", "--signature-policy", self.policy, *how, tag, target]

    def archive(self, case, out):
        return [self.push(f"bench-{case.name}", "docker", out)]

    def forget(self):
        return [[self.program, "rm", "--all"], [self.program, "rmi", "--all", "--force"]]


class Docker(Tool):
    """BuildKit inside the Docker engine, which writes no OCI archives."""

    name = "docker"
    outputs = (None, "docker")

    def start(self):
        daemon = find("dockerd")
        # The client of the same package: another may lack what it needs to build.
        self.program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else find("docker")
        if not daemon or not self.program:
            raise OSError("the Docker engine is not installed")
        if os.geteuid() != 0:
            raise OSError("the Docker engine needs root")
        socket = f"unix://{self.work}/sock"
        self.env |= {"DOCKER_HOST": socket, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.work / "client")}
        command = [
            daemon, "--data-root", self.work / "root", "--exec-root", self.work / "exec", "--pidfile",
            self.work / "pid", "-H", socket, "--iptables=false", "--bridge=none", "--insecure-registry",
            self.registry.address, "--registry-mirror", f"http://{self.registry.address}",
        ]
        self.start_daemon(command, [self.program, "version"])

    def stop(self):
        self.stop_daemon()

    def build(self, case, output=None, out=None, no_cache=False):
        tag = f"bench-{case.name}"
        command = [self.program, "build", "--network", "host", "-t", tag] + ["--no-cache"] * no_cache
        return [command + [case.folder]] + (self.archive(case, out) if output else [])

    def archive(self, case, out):
        return [[self.program, "save", "-o", out, f"bench-{case.name}"]]

    def forget(self):
        return [[self.program, "system", "prune", "--all", "--force"]]


class BuildKit(Tool):
    """The buildkitd that $RBUILD_BENCH_BUILDKITD names, with the buildctl beside it."""

    name = "buildkit"
    outputs = (None, "oci-gzip", "oci-zstd", "oci-uncompressed", "docker")

    def start(self):
        daemon = os.environ.get("RBUILD_BENCH_BUILDKITD")
        if not daemon:
            raise OSError("$RBUILD_BENCH_BUILDKITD names no buildkitd")
        beside = Path(daemon).with_name("buildctl")
        client = str(beside) if beside.exists() else find("buildctl")
        if not client:
            raise OSError("there is no buildctl")
        socket = f"unix://{self.work}/sock"
        self.client = [client, "--addr", socket]
        settings = self.work / "buildkitd.toml"
        settings.write_text(
            f'root = "{self.work}/root"\n[grpc]\n  address = ["{socket}"]\n'
            "[worker.oci]\n  enabled = true\n  gc = false\n[worker.containerd]\n  enabled = false\n"
            f'[registry."docker.io"]\n  mirrors = ["{self.registry.address}"]\n'
            f'[registry."{self.registry.address}"]\n  http = true\n'
        )
        self.start_daemon([daemon, "--config", settings], [*self.client, "debug", "workers"])

    def stop(self):
        self.stop_daemon()

    def build(self, case, output=None, out=None, no_cache=False):
        command = [*self.client, "build", "--frontend", "dockerfile.v0", "--local", f"context={case.folder}"]
        command += ["--local", f"dockerfile={case.folder}"] + ["--no-cache"] * no_cache
        if output == "docker":
            command += ["--output", f"type=docker,name=bench-{case.name},dest={out}"]
        elif output:
            command += ["--output", f"type=oci,compression={output[4:]},force-compression=true,dest={out}"]
        return [command]

    def archive(self, case, out):
        return self.build(case, "docker", out)

    def forget(self):
        return [[*self.client, "prune", "--all"]]


def client_settings(work, registry):
    """Settings under which programs find the loopback registry, and nobody's credentials."""
    settings = work / "registries.conf"
    settings.write_text(
        'unqualified-search-registries = ["docker.io"]\n[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'
        f'[[registry.mirror]]\nlocation = "{registry.address}"\ninsecure = true\n'
    )
    client = work / "client"
    client.mkdir(exist_ok=True)
    (client / "config.json").write_text(json.dumps({}))
    return {"CONTAINERS_REGISTRIES_CONF": str(settings), "DOCKER_CONFIG": str(client)}


ALL = {tool.name: tool for tool in (Rbuild, Buildah, Docker, BuildKit)}
Rbuild.program = places.TARGET / "release" / "rbuild"
