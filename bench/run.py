#!/usr/bin/env python3
"""Times rbuild and every other builder found on the same workloads, in turn (A B A B).

Each image is read and compared: with what must be in it, and with what the other builders made.
Exit status 1 if rbuild failed, or an image is wrong.
"""

import argparse
import json
import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

sys.dont_write_bytecode = True

import chart
import measure
import places
import rows
import tools
from harness import Bench, machine


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", action="append", default=[], metavar="PATTERN",
                        help="only these rows, e.g. 'tree40k/*' (may be repeated; --list shows them)")
    parser.add_argument("--tools", default=",".join(tools.ALL), metavar="NAMES",
                        help="builders to run (default: %(default)s)")
    parser.add_argument("-n", type=int, default=3, metavar="RUNS", help="timed runs of each (default: 3)")
    parser.add_argument("--quick", action="store_true", help="small workloads, one run: does everything work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go (default: WORK/results.json)")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw a chart of the ratios")
    parser.add_argument("--rbuild", type=Path, default=tools.Rbuild.program, metavar="PROGRAM")
    parser.add_argument("--work", type=Path, default=places.TARGET / "bench", metavar="DIR",
                        help="where workloads are kept and stores lie meanwhile (default: %(default)s)")
    parser.add_argument("--no-check", action="store_true", help="do not look at the images")
    parser.add_argument("--no-memory", action="store_true", help="no additional run for the memory")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    parser.add_argument("--nice", type=int, metavar="N", help="priority of everything that is started")
    options = parser.parse_args()
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    options.tools = options.tools.split(",")
    unknown = [name for name in options.tools if name not in tools.ALL]
    if unknown:
        parser.error(f"no such builder: {unknown[0]} (there are {', '.join(tools.ALL)})")
    if options.quick:
        options.n = 1
    tools.Rbuild.program = options.rbuild.resolve()
    return options


def chosen_rows(options):
    every = rows.QUICK if options.quick else rows.FULL
    found = [row for row in every if not options.rows or any(fnmatch(row.name, one) for one in options.rows)]
    return found or places.die(f"no row is named {' or '.join(options.rows)}: see --list")


def main():
    options = arguments()
    wanted = chosen_rows(options)
    if options.list:
        print("\n".join(row.name for row in wanted))
        return 0
    # So that everything is stopped, whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench, results = Bench(options), []
    before = machine()
    try:
        bench.prepare()
        bench.start_tools()
        print(f"memory is the {measure.MEMORY_IS}")
        for row in wanted:
            result = bench.measure_row(row)
            results.append(result)
            print("\n".join(result.lines()), flush=True)
    finally:
        bench.stop()
        document = {
            "machine": before, "load_after": os.getloadavg(), "memory_is": measure.MEMORY_IS, "runs": options.n,
            "rows": [result.as_json() for result in results],
        }
        target = options.json or options.work / "results.json"
        target.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {target}")
    if options.plot:
        options.plot.write_text(chart.ratios(document))
        print(f"written: {options.plot}")
    return 1 if any(result.is_wrong() for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
