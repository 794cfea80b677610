"""Workloads, servers and builders, ready to be measured; all of it ends with `stop`."""

import os
import platform
import shutil
import statistics
import sys
import time

import cases
import measure
import places
import tools
import trees
from registry import Registry

# Room that must stay free on the disk; old stores are removed before it is used up.
RESERVE = 8 << 30


class Bench:
    """Everything that runs while rows are measured."""

    def __init__(self, options):
        self.options = options
        self.base = options.work.resolve()
        self.scratch = self.base / f"run-{os.getpid()}"
        self.scratch.mkdir(parents=True)
        self.registry = Registry(self.base / "blobs")
        self.tools = []

    def prepare(self):
        quick = self.options.quick
        prepare = cases.prepare_quick if quick else cases.prepare_full
        self.cases = prepare(self.base / ("quick" if quick else "workloads"))
        busybox = places.base_tar("busybox")
        self.registry.add("bench/busybox", [busybox])
        if not quick:
            self.registry.add("bench/debian", [places.base_tar("debian")])
        large = cases.large_base(self.base, (2 if quick else 200) << 20)
        self.registry.add("bench/large", [busybox, *large])
        self.registry.start()

    def start_tools(self):
        for name in self.options.tools:
            tool = tools.ALL[name](self.scratch, self.registry)
            try:
                tool.start()
                self.tools.append(tool)
            except OSError as error:
                tool.stop()
                note(f"without {name}: {error}")

    def stop(self):
        for tool in self.tools:
            tool.stop()
        self.registry.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def out(self, tool):
        return self.scratch / f"out-{tool.name}.tar"

    def run(self, tool, commands, memory=False):
        self.out(tool).unlink(missing_ok=True)
        return measure.timed(commands, tool.env, tool.daemons(), memory)

    def must(self, tool, commands):
        done = self.run(tool, commands)
        if done.code:
            raise ToolFailed(done)

    def fetch_bases(self, tool, case):
        """Has the bases brought and unpacked, so that a cold build finds them."""
        for base in case.bases:
            folder = self.base / "bases" / base.replace("/", "-")
            prime = cases.Case(f"prime-{folder.name}", folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "Dockerfile").write_text(f'FROM docker.io/{base}\nRUN ["/bin/true"]\n')
            self.must(tool, tool.build(prime))

    def make_room(self):
        if places.free_bytes(self.scratch) < RESERVE:
            note("removing old stores to make room: files made next may be slower")
            for old in self.scratch.glob("rbuild/store*"):
                if str(old) not in (tool.env.get("RBUILD_ROOT") for tool in self.tools):
                    shutil.rmtree(old)

    def ready(self, tool, row, case):
        """Brings a tool into the state in which a run of the scenario begins."""
        self.make_room()
        if row.scenario == "pull":
            if not tool.fresh():
                self.must(tool, tool.forget())
        elif row.scenario == "cold":
            if tool.fresh():
                self.fetch_bases(tool, case)
        if row.scenario in ("cold", "pull"):
            os.sync()

    def first(self, tool, row, case):
        """What comes once, before the first run."""
        if row.scenario == "cold":
            self.fetch_bases(tool, case)
        elif row.scenario != "pull":
            self.must(tool, tool.build(case, row.output, self.out(tool)))

    def measure_row(self, row):
        case = self.cases[row.case]
        result = Result(row)
        able = [tool for tool in self.tools if row.output in tool.outputs]
        for tool in list(able):
            self.guard(result, able, tool, lambda: self.first(tool, row, case))
        n_memory = 0 if self.options.no_memory else 1
        for turn in range(self.options.n + n_memory):
            if row.scenario == "edit":
                case.edit()
            for tool in list(able):
                self.guard(
                    result, able, tool, lambda: self.once(result, tool, row, case, turn >= self.options.n)
                )
        self.compare(result, able, row, case)
        for tool in self.tools:
            self.out(tool).unlink(missing_ok=True)
        return result

    def guard(self, result, able, tool, action):
        try:
            action()
        except ToolFailed as failed:
            result.failures[tool.name] = failed.text
            able.remove(tool)

    def once(self, result, tool, row, case, memory):
        self.ready(tool, row, case)
        no_cache = row.scenario == "cold"
        done = self.run(tool, tool.build(case, row.output, self.out(tool), no_cache), memory)
        if done.code:
            raise ToolFailed(done)
        if memory:
            result.memory[tool.name] = done.peak_bytes
        else:
            result.times.setdefault(tool.name, []).append(done.seconds)
            result.cpu.setdefault(tool.name, []).append(done.cpu)

    def compare(self, result, able, row, case):
        """Reads what each tool made last."""
        if self.options.no_check:
            return
        expected, first = case.expected(), None
        for tool in able:
            try:
                if row.output is None:
                    self.must(tool, tool.archive(case, self.out(tool)))
                tree = trees.read_tree(self.out(tool))
            except ToolFailed as failed:
                result.failures[tool.name] = failed.text
                continue
            absent = trees.missing(tree, expected)
            wrong = f"{absent} is missing or another" if absent else case.check(tree)
            if not wrong and first:
                wrong = trees.difference(first, tree)
            first = first or tree
            result.checks[tool.name] = wrong or f"ok {trees.digest(trees.without_scaffold(tree))}"


class ToolFailed(Exception):
    def __init__(self, done):
        lines = [line for line in done.output.splitlines() if line.strip()]
        self.text = lines[-1] if lines else f"exit status {done.code}"


class Result:
    def __init__(self, row):
        self.row, self.times, self.cpu = row, {}, {}
        self.memory, self.checks, self.failures = {}, {}, {}

    def ratios(self, name):
        """Times in multiples of rbuild's, turn by turn."""
        own = self.times.get("rbuild", [])
        return [other / mine for mine, other in zip(own, self.times.get(name, []))]

    def is_wrong(self):
        return "rbuild" in self.failures or any(not text.startswith("ok") for text in self.checks.values())

    def as_json(self):
        return {
            "row": self.row.name, "aim": self.row.aim, "seconds": self.times, "cpu_seconds": self.cpu,
            "peak_bytes": self.memory,
            "checks": self.checks, "failures": self.failures,
            "ratios": {name: spread(self.ratios(name)) for name in self.times if name != "rbuild" and self.ratios(name)},
        }

    def lines(self):
        yield self.row.name + (f"  (aim: ×{self.row.aim:g} of BuildKit's newest)" if self.row.aim else "")
        for name in [*self.times, *(name for name in self.failures if name not in self.times)]:
            yield "  " + self.line(name)

    def line(self, name):
        text = f"{name:10}"
        if self.times.get(name):
            middle, low, high = spread(self.times[name])
            text += f"{middle:9.3f} s ({low:.3f}–{high:.3f})"
        if name != "rbuild" and self.ratios(name):
            middle, low, high = spread(self.ratios(name))
            text += f"  ×{middle:.1f} ({low:.1f}–{high:.1f})"
        if name in self.cpu:
            text += f"  cpu {statistics.median(self.cpu[name]):.2f} s"
        if name in self.memory:
            text += f"  {self.memory[name] / 1e6:.0f} MB"
        if name in self.failures:
            text += f"  FAILED: {self.failures[name]}"
        elif name in self.checks and not self.checks[name].startswith("ok"):
            text += f"  WRONG: {self.checks[name]}"
        return text


def spread(values):
    return [statistics.median(values), min(values), max(values)]


def note(text):
    print(text, file=sys.stderr, flush=True)


def machine():
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) * 1024
    return {
        "processors": os.cpu_count(), "memory": memory, "kernel": platform.release(),
        "load": os.getloadavg(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
