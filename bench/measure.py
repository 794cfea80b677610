"""Times commands, and follows the memory of a process and all below it."""

import os
import resource
import subprocess
import threading
import time
from dataclasses import dataclass

SAMPLE_SECONDS = 0.01
MEMORY_IS = (
    f"sum of PSS over the whole process tree (a daemon's included), sampled every {SAMPLE_SECONDS * 1000:.0f} ms, "
    "in runs of its own"
)


@dataclass
class Run:
    seconds: float
    code: int
    output: str
    # Processor time of everything that ran, a daemon's share included.
    cpu: float = 0.0
    peak_bytes: int = 0


def family(pid):
    """A process and all below it."""
    found, position = [pid], 0
    while position < len(found):
        parent = found[position]
        position += 1
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += map(int, file.read().split())
        except OSError:  # it has ended meanwhile
            pass
    return found


def proportional_bytes(pid):
    """Memory of a process, each shared page divided by the number of processes that have it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def processor_seconds(daemons):
    """Processor time of all children that ended, and of daemons with all they started."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime
    for pid in (member for daemon in daemons for member in family(daemon)):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        except OSError:  # it has ended meanwhile
            pass
    return total


class Sampler(threading.Thread):
    """Follows the memory below some processes until it is stopped."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.peak, self.over = list(pids), 0, threading.Event()

    def run(self):
        while True:
            members = {member for pid in self.pids for member in family(pid)}
            self.peak = max(self.peak, sum(map(proportional_bytes, members)))
            if self.over.wait(SAMPLE_SECONDS):
                break

    def stop(self):
        self.over.set()
        self.join()
        return self.peak


def timed(commands, env, daemons=(), memory=False):
    """Runs commands one after the other, as one thing; stops at the first that fails."""
    total, peak, text, code = 0.0, 0, "", 0
    cpu_before = processor_seconds(daemons)
    for command in commands:
        start = time.monotonic()
        process = subprocess.Popen(
            list(map(str, command)),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        sampler = Sampler([process.pid, *daemons]) if memory else None
        if sampler:
            sampler.start()
        try:
            output = process.communicate()[0]
        except BaseException:
            process.kill()
            process.wait()
            raise
        total += time.monotonic() - start
        if sampler:
            peak = max(peak, sampler.stop())
        text, code = output.decode(errors="replace"), process.returncode
        if code:
            break
    return Run(total, code, text, processor_seconds(daemons) - cpu_before, peak)
