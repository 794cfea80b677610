#!/usr/bin/env python3
"""Time and memory of rbuild against the number of files, of steps, of records in the store, and the size of a layer.

For each line a power law (y = a·x^b) and a straight line (y = a + b·x) are fitted and printed with what they leave
unexplained: growth that is worse than linear shows as an exponent above 1 at the large end.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import cases
import chart
import places
import tools
from harness import Bench, ToolFailed, machine, note

MB = 1 << 20
FILES = [1000, 3000, 10_000, 30_000, 100_000, 200_000]
STEPS = [10, 30, 100, 300, 1000, 2000]
RECORDS = [0, 1000, 10_000, 100_000]
LAYERS = [1, 4, 16, 64, 256, 1024, 4096]
# A layer is on the disk as context, blob, archive, and once more in the run that follows the memory.
COPIES = 6


class Growth:
    def __init__(self, bench, programs, share):
        self.bench, self.programs, self.share = bench, programs, share
        self.rbuild = bench.tools[0]
        # Points by line, and what kept a line from going on.
        self.lines, self.ends = {}, {}

    def sizes(self, values):
        """The given sizes, without the largest if a share of them is enough."""
        return values[: max(2, math.ceil(len(values) * self.share))]

    def folder(self, name):
        folder = self.bench.scratch / "cases" / name
        folder.mkdir(parents=True)
        return folder

    def run(self, case, output=None):
        """The best of some runs, and the peak of memory of one more."""
        build = self.rbuild.build(case, output, self.bench.out(self.rbuild))
        done = self.bench.run(self.rbuild, build)
        if done.code:
            raise ToolFailed(done)
        return done.seconds, done.cpu

    def cold(self, case, output=None):
        times = []
        for _ in range(self.bench.options.n):
            self.fresh(case)
            times.append(self.run(case, output))
        self.fresh(case)
        return (*map(min, zip(*times)), self.memory(case, output))

    def noop(self, case):
        self.run(case), self.run(case)
        times = [self.run(case) for _ in range(2 * self.bench.options.n)]
        return (*map(min, zip(*times)), self.memory(case))

    def fresh(self, case):
        self.bench.make_room()
        self.rbuild.fresh()
        self.bench.fetch_bases(self.rbuild, case)

    def memory(self, case, output=None):
        build = self.rbuild.build(case, output, self.bench.out(self.rbuild))
        return self.bench.run(self.rbuild, build, memory=True).peak_bytes

    def note(self, line, x, values):
        seconds, cpu, peak = values
        self.lines.setdefault(line, []).append({"x": x, "seconds": seconds, "cpu": cpu, "peak_bytes": peak})
        print(f"{line:28}{x:>9,}{seconds * 1e3:11.1f} ms  cpu{cpu * 1e3:10.1f} ms{peak / 1e6:8.1f} MB", flush=True)

    def files(self):
        for count in self.sizes(FILES):
            folder = self.folder(f"files{count}")
            (folder / "Dockerfile").write_text(cases.TREE)
            cases.write_files(folder / "src", count, count << 10)
            case = cases.Case(folder.name, folder)
            self.note("files, first build", count, self.cold(case, "oci-uncompressed"))
            self.note("files, nothing changed", count, self.noop(case))

    def steps(self):
        for count in self.sizes(STEPS):
            folder = self.folder(f"steps{count}")
            (folder / "Dockerfile").write_text(cases.steps(count))
            case = cases.Case(folder.name, folder, ["bench/busybox"])
            self.note("steps, first build", count, self.cold(case))
            self.note("steps, nothing changed", count, self.noop(case))

    def records(self):
        folder = self.folder("records")
        (folder / "Dockerfile").write_text(cases.steps(50))
        case = cases.Case("records", folder, ["bench/busybox"])
        for count in self.sizes(RECORDS):
            self.fresh(case)
            database = Path(self.rbuild.env["RBUILD_ROOT"]) / "db"
            subprocess.run([self.programs / "fill_records", database, str(count)], check=True)
            self.note("records, nothing changed", count, self.noop(case))

    def layers(self):
        for size in self.sizes(LAYERS):
            if places.free_bytes(self.bench.scratch) < COPIES * size * MB + (8 << 30):
                note(f"no layer of {size} MB: the disk is too full")
                break
            folder = self.folder(f"layer{size}")
            (folder / "Dockerfile").write_text("FROM scratch\nCOPY blob /blob\n")
            chance = random.Random(size)
            with open(folder / "blob", "wb") as out:
                for number in range(size):
                    out.write(chance.randbytes(MB) if number % 2 else b"%08d" % number * (MB >> 3))
            case = cases.Case(folder.name, folder)
            self.note("MB in a layer, first build", size, self.cold(case, "oci-uncompressed"))
            (self.bench.scratch / "cases" / folder.name / "blob").unlink()
            for store in self.bench.scratch.glob("rbuild/store*"):  # few files, so this delays nothing
                shutil.rmtree(store)

    def fits(self):
        """Prints for each line how it grows."""
        found = {}
        for line, points in self.lines.items():
            for what in ("seconds", "cpu", "peak_bytes"):
                pairs = [(point["x"], point[what]) for point in points]
                fit = found[f"{line}: {what}"] = {"power": power(pairs), "last_power": power(pairs[-2:]), "linear": linear(pairs)}
                print(
                    f"{line + ': ' + what:40} exponent {show(fit['power'])}, at the large end {show(fit['last_power'])}, "
                    f"off a straight line by {fit['linear']['off']:.0%} at most"
                )
        return found


def show(exponent):
    return "–" if exponent is None else f"{exponent:.2f}"


def least_squares(pairs):
    """Slope and intercept."""
    n = len(pairs)
    mean_x, mean_y = (sum(values) / n for values in zip(*pairs))
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread if spread else 0
    return slope, mean_y - slope * mean_x


def power(pairs):
    logarithms = [(math.log(x), math.log(y)) for x, y in pairs if x > 0 and y > 0]
    return least_squares(logarithms)[0] if len(logarithms) > 1 else None


def linear(pairs):
    """The straight line, and by how much of its own value a point is off it at most."""
    slope, start = least_squares(pairs)
    off = max(abs(y - (start + slope * x)) / y if y else 0 for x, y in pairs)
    return {"start": start, "slope": slope, "off": off}


def plots(growth, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for axis in ("files", "steps", "records", "MB in a layer"):
        lines = {name: points for name, points in growth.lines.items() if name.startswith(axis)}
        if not lines:
            continue
        for what, unit, factor in (("seconds", "s", 1), ("peak_bytes", "MB", 1e-6)):
            series = {
                name.split(", ")[1]: (unit, [(max(point["x"], 1), point[what] * factor) for point in points])
                for name, points in lines.items()
            }
            title = "Time" if what == "seconds" else "Peak memory"
            target = folder / f"{axis.split()[0].lower()}-{'time' if unit == 's' else 'memory'}.svg"
            target.write_text(chart.growth(f"{title} against {axis}", axis, series))
            print(f"written: {target}")


def build_programs():
    command = ["cargo", "build", "--release", "--locked", "-q", "--package", "rbuild-cache", "--examples"]
    subprocess.run(command, cwd=places.REPO, check=True)
    return places.TARGET / "release" / "examples"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=2, metavar="RUNS", help="runs of each point; the best counts")
    parser.add_argument("--only", choices=["files", "steps", "records", "layers"], action="append")
    parser.add_argument("--share", type=float, default=1, metavar="0…1", help="leave out the largest sizes")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="where charts go (default: WORK/growth)")
    parser.add_argument("--rbuild", type=Path, default=tools.Rbuild.program, metavar="PROGRAM")
    parser.add_argument("--work", type=Path, default=places.TARGET / "bench", metavar="DIR")
    parser.add_argument("--nice", type=int, metavar="N", help="priority of everything that is started")
    options = parser.parse_args()
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    options.tools, options.quick = ["rbuild"], True
    tools.Rbuild.program = options.rbuild.resolve()
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    programs = build_programs()
    bench, before = Bench(options), machine()
    try:
        bench.prepare()
        bench.start_tools()
        if not bench.tools:
            return 1
        growth = Growth(bench, programs, options.share)
        for name in options.only or ["records", "steps", "files", "layers"]:
            try:
                getattr(growth, name)()
            except ToolFailed as failed:
                note(f"{name} end here: {failed.text}")
                growth.ends[name] = failed.text
    finally:
        bench.stop()
    document = {"machine": before, "lines": growth.lines, "ends": growth.ends, "fits": growth.fits()}
    (options.work / "growth.json").write_text(json.dumps(document, indent=1) + "\n")
    plots(growth, options.plot or options.work / "growth")
    return 0


if __name__ == "__main__":
    sys.exit(main())
