#!/usr/bin/env python3
"""Measures what this machine can do at best, and how far rbuild is from that; floor and rbuild in turn."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

sys.dont_write_bytecode = True

import cases
import measure
import places
import tools
from harness import Bench, ToolFailed, machine, note, spread
from rows import Row

# What is aimed at: at most so many times the floor, at most so many bytes.
NOOP_STEPS, NOOP_FILES, RUN_STEP, PACK, MEMORY = 3, 2, 2, 1.5, 100_000_000
# A RUN's cost is the slope between two numbers of steps, so that what a build costs once is not in it.
FEW, MANY = 20, 120


class Floors:
    def __init__(self, bench, programs):
        self.bench, self.programs = bench, programs
        self.rbuild = bench.tools[0]
        self.items, self.facts = [], {}

    def seconds(self, commands):
        done = self.bench.run(self.rbuild, commands)
        if done.code:
            raise ToolFailed(done)
        return done.seconds

    def floor(self, name, *args):
        """Seconds that a floor program measured itself; the median if it printed several."""
        command = [self.programs / name, *map(str, args)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return spread([float(line) for line in done.stdout.split()])[0]

    def case(self, name, dockerfile):
        folder = self.bench.scratch / "cases" / name
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(dockerfile)
        return cases.Case(name, folder, ["bench/busybox"])

    def compare(self, title, limit, own, floor):
        """Calls both in turn; remembers the ratios."""
        pairs = [(own(), floor()) for _ in range(self.bench.options.n)]
        ratios = spread([a / b for a, b in pairs])
        seconds = spread([a for a, _ in pairs]), spread([b for _, b in pairs])
        self.items.append({"item": title, "limit": limit, "ratio": ratios, "seconds": seconds[0], "floor": seconds[1]})
        verdict = "met" if ratios[0] <= limit else "MISSED"
        print(
            f"{title}: ×{ratios[0]:.2f} ({ratios[1]:.2f}–{ratios[2]:.2f}) of {seconds[1][0] * 1e3:.2f} ms, "
            f"aim ×{limit:g}: {verdict}", flush=True,
        )

    def noop(self, title, limit, case, floor):
        build = self.rbuild.build(case)
        self.seconds(build)
        self.seconds(build)
        self.compare(title, limit, lambda: self.seconds(build), floor)

    def start_up(self):
        return self.seconds([[self.rbuild.program, "--version"]])

    def noops(self):
        name = "steps5" if self.bench.options.quick else "steps50"
        steps = self.bench.cases[name]
        self.noop(
            f"nothing changed, {name}, against start-up and stat", NOOP_STEPS, steps,
            lambda: self.start_up() + self.floor("byte_floors", "stat", steps.folder),
        )
        tree = self.tree()
        self.noop(
            f"nothing changed, {tree.name}, against a parallel stat", NOOP_FILES, tree,
            lambda: self.floor("byte_floors", "stat", tree.folder),
        )

    def tree(self):
        return self.bench.cases["tree200" if self.bench.options.quick else "tree40k"]

    def run_steps(self, title, line, program):
        base = "FROM docker.io/bench/busybox\n"
        few, many = (
            self.case(f"{title.split()[0]}-{count}", base + "".join(line % i for i in range(count)))
            for count in (FEW, MANY)
        )
        root = self.bench.scratch / "root"
        if not root.exists():
            with tarfile.open(places.base_tar("busybox")) as tar:
                tar.extractall(root, filter="tar")
        turns = iter(range(1 << 30))

        def cold(case):
            self.rbuild.fresh()
            self.bench.fetch_bases(self.rbuild, case)
            return self.seconds(self.rbuild.build(case))

        def floor():
            scratch = self.bench.scratch / "floor" / f"{title.split()[0]}{next(turns)}"
            scratch.mkdir(parents=True)
            return self.floor("run_floor", MANY, root, scratch, *program)

        self.compare(
            f"a RUN of {title}, against clone + overlay + exec", RUN_STEP,
            lambda: (cold(many) - cold(few)) / (MANY - FEW), floor,
        )

    def pack(self):
        tree, out = self.tree(), self.bench.scratch / "packed"

        def floor():
            out.unlink(missing_ok=True)
            return self.floor("byte_floors", "pack", tree.folder, out)

        def own():
            self.rbuild.fresh()
            return self.seconds(self.rbuild.build(tree, "oci-uncompressed", self.bench.out(self.rbuild)))

        floor(), own()  # the page cache is warm for all that count
        self.compare(f"COPY of {tree.name} to an uncompressed archive, against read + write", PACK, own, floor)
        out.unlink(missing_ok=True)

    def memory(self):
        """Peaks of rbuild on every workload, with every kind of archive."""
        for case in self.bench.cases.values():
            scenarios = [Row(case.name, "cold", output) for output in tools.Rbuild.outputs]
            scenarios += [Row(case.name, "noop"), Row(case.name, "pull")]
            peaks = {}
            for row in scenarios:
                self.bench.ready(self.rbuild, row, case)
                build = self.rbuild.build(case, row.output, self.bench.out(self.rbuild))
                done = self.bench.run(self.rbuild, build, memory=True)
                if done.code:
                    raise ToolFailed(done)
                peaks[f"{row.scenario}/{row.output or 'store'}"] = done.peak_bytes
            name, peak = max(peaks.items(), key=lambda item: item[1])
            self.items.append({"item": f"memory of {case.name}", "limit": MEMORY, "peak_bytes": peaks})
            verdict = "met" if peak < MEMORY else "MISSED"
            print(f"memory of {case.name}: {peak / 1e6:.0f} MB in {name}, aim {MEMORY / 1e6:.0f} MB: {verdict}", flush=True)

    def machine_facts(self):
        """Speeds that nothing can beat, for one processor unless said otherwise."""
        sample = self.bench.scratch / "sample"
        with open(sample, "wb") as out:
            for path in sorted(self.tree().folder.rglob("*.js"))[:8000]:
                out.write(path.read_bytes())
        size = sample.stat().st_size
        for name in ("sha256", "gzip", "zstd"):
            seconds = min(self.floor("byte_floors", name, sample) for _ in range(3))
            self.fact(f"{name}, MB/s", size / seconds / 1e6)
        self.fact("fork + exec, ms", self.floor("run_floor", 100) * 1e3)
        self.fact("rbuild --version, ms", spread([self.start_up() for _ in range(20)])[0] * 1e3)
        sample.unlink()

    def fact(self, name, value):
        self.facts[name] = value
        print(f"{name}: {value:.2f}", flush=True)


def build_programs():
    command = ["cargo", "build", "--release", "--locked", "-q", "--package", "rbuild-image", "--package", "rbuild-sandbox", "--examples"]
    subprocess.run(command, cwd=places.REPO, check=True)
    return places.TARGET / "release" / "examples"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=5, metavar="RUNS", help="runs of each (default: 5)")
    parser.add_argument("--only", choices=["facts", "noop", "run", "pack", "memory"], action="append")
    parser.add_argument("--quick", action="store_true", help="small workloads")
    parser.add_argument("--rbuild", type=Path, default=tools.Rbuild.program, metavar="PROGRAM")
    parser.add_argument("--work", type=Path, default=places.TARGET / "bench", metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go (default: WORK/floors.json)")
    parser.add_argument("--nice", type=int, metavar="N", help="priority of everything that is started")
    options = parser.parse_args()
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    options.tools = ["rbuild"]
    tools.Rbuild.program = options.rbuild.resolve()
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    programs = build_programs()
    bench, floors, before = Bench(options), None, machine()
    parts = {
        "facts": lambda: floors.machine_facts(),
        "noop": lambda: floors.noops(),
        "run": lambda: (
            floors.run_steps("true", 'RUN ["/bin/true", "%d"]\n', ["/bin/true"]),
            floors.run_steps("a shell that writes a file", "RUN echo %d > /s\n", ["/bin/sh", "-c", "echo 1 > /s"]),
        ),
        "pack": lambda: floors.pack(),
        "memory": lambda: floors.memory(),
    }
    try:
        bench.prepare()
        bench.start_tools()
        if not bench.tools:
            return 1
        floors = Floors(bench, programs)
        for name in options.only or parts:
            parts[name]()
    except ToolFailed as failed:
        note(f"error: {failed.text}")
        return 1
    finally:
        bench.stop()
        if floors:
            target = options.json or options.work / "floors.json"
            document = {"machine": before, "load_after": os.getloadavg(), "memory_is": measure.MEMORY_IS}
            target.write_text(json.dumps(document | {"facts": floors.facts, "items": floors.items}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
