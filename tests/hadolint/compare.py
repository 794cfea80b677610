#!/usr/bin/env python3
"""Compares `rbuild check` with hadolint: the same findings, rule and line, for the same Dockerfiles.

compare.py RBUILD HADOLINT [CORPUS]

The files are those of commands.txt (one RUN a line), files.txt (between lines of `---`) and, if it is
given, every Dockerfile below CORPUS. Differences that are meant are listed in differences.txt; one
that is not listed fails, and so does one that is listed and not there any more.
"""
import concurrent.futures
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Not silent here, so that they are compared too.
QUIET_RULES = ["DL1001", "DL3057"]
# Rules that rbuild does not have: those for which hadolint wants a configuration, those for what
# is an error of the language, and ShellCheck's.
NOT_OURS = {"DL3026", "DL3043", "DL3061"} | {f"DL30{n}" for n in [49, 50, 51, 52, 53, 54, 55, 56, 58]}
# So many files have to be left when those that one of the two cannot read are out.
LEAST_CASES, LEAST_CORPUS = 1000, 500


def run(command, text):
    done = subprocess.run(command, input=text, capture_output=True, timeout=60)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return None


def hadolint(program, text):
    levels = [word for rule in QUIET_RULES for word in ("--style", rule)]
    found = run([program, "--format", "json", "--no-fail", *levels, "-"], text)
    if found is None or any(item["code"] == "DL1000" for item in found):
        return None
    codes = {(item["code"], item["line"]) for item in found}
    return {(code, line) for code, line in codes if code.startswith("DL") and code not in NOT_OURS}


def rbuild(program, text):
    levels = [word for rule in QUIET_RULES for word in ("--style", rule)]
    found = run([program, "check", "--rules", "hadolint", "--format", "json", *levels, "-"], text)
    if found is None:
        raise SystemExit(f"rbuild printed no JSON for:\n{text.decode(errors='replace')}")
    if any(item["code"].startswith("parse::") for item in found):
        return None
    return {(item["code"], item["instructionLine"]) for item in found if item["code"].startswith("DL")}


def cases():
    with open(os.path.join(HERE, "commands.txt"), encoding="utf-8") as lines:
        for line in lines.read().splitlines():
            yield f"RUN {line}", f"FROM debian:12\nRUN {line}\n".encode()
    with open(os.path.join(HERE, "files.txt"), encoding="utf-8") as lines:
        for text in lines.read().split("---\n"):
            yield json.dumps(text, ensure_ascii=False), text.encode()


def corpus(top):
    for folder, _, names in sorted(os.walk(os.path.join(top, "build"))):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if "dockerfile" not in name.lower() or name.endswith(".dockerignore") or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                yield os.path.relpath(path, top), file.read()


def listed():
    """Yields (rule, who has it, name) of each known difference."""
    with open(os.path.join(HERE, "differences.txt"), encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            try:
                rule, who, name = line.split(" ", 2)
            except ValueError:
                raise SystemExit(f"differences.txt:{number}: not RULE WHO NAME") from None
            if who not in ("+", "-"):
                raise SystemExit(f"differences.txt:{number}: neither + nor -")
            yield rule, who, name


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    ours, theirs = sys.argv[1:3]
    files = list(cases())
    n_cases = len(files)
    if len(sys.argv) > 3:
        files += corpus(sys.argv[3])
    os.chdir("/")  # so that no .hadolint.yaml is found

    def compare(item):
        return item[0], hadolint(theirs, item[1]), rbuild(ours, item[1])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(compare, files))

    differences, n_findings, n_compared = set(), 0, [0, 0]
    for index, (name, expected, found) in enumerate(results):
        if expected is None or found is None:
            continue
        n_compared[index >= n_cases] += 1
        n_findings += len(expected | found)
        for code, line in found - expected:
            differences.add((code, "+", f"{name}:{line}" if index >= n_cases else name))
        for code, line in expected - found:
            differences.add((code, "-", f"{name}:{line}" if index >= n_cases else name))

    failed = False
    known = list(listed())
    for code, who, name in sorted(differences):
        if (code, who, name) not in known:
            print(f"not listed: {code} {who} {name}")
            failed = True
    for entry in known:
        is_of_corpus = entry[2].startswith("build/")
        if entry not in differences and not (is_of_corpus and len(sys.argv) < 4):
            print(f"listed, but no difference: {' '.join(entry)}")
            failed = True
    if len(set(known)) != len(known):
        print("differences.txt has a line twice")
        failed = True
    print(f"hadolint: {n_compared[0]} cases and {n_compared[1]} files of the corpus compared, "
          f"{n_findings} findings, {len(differences)} known differences")
    if n_compared[0] < LEAST_CASES or len(sys.argv) > 3 and n_compared[1] < LEAST_CORPUS:
        print("too few files were compared")
        failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
