"""Measures Attune, two references in C, NumPy, PyTorch and PEFT on one core, and writes a report.

Attune's benchmarks are built and then run in turns with each library's, several times over. Attune, the fused
reference and the limit are timed in one process. What is written to the output folder:

    results.json   everything: the machine, the command, the versions, each case with its ratios, the runs with many users
    results.csv    the cases alone
    report.html    one page with tables and plots that needs no network
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
BENCHMARK = ".build-benchmarks/release/Benchmark"
ATTUNE_SHAPES = ",".join(f"{dimension}/{rank}" for dimension in (64, 384, 768, 1536) for rank in (4, 8, 16))
PEERS = ["numpy", "pytorch", "peft"]
# The same work in C: written directly, and in the least time that was found.
REFERENCES = ["fused", "limit"]

# PEFT has to make another user's adapter the active one before it updates it; Attune's update is given the adapter.
SAME_WORK = {"update-sgd-switch": "update-sgd"}

COLUMNS = (
    "name implementation dimension rank batch threads min_ns median_ns fused_ratio fused_ratio_median limit_ratio "
    "limit_ratio_median times_attune times_attune_median bytes flop gigabytes_per_second gigaflop_per_second allocations passes chunks calls_per_chunk "
    "cpu_share"
).split()


class Failure(Exception):
    pass


def arguments():
    parser = argparse.ArgumentParser(prog="compare", description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=3, metavar="N", help="how often everything is run, in turns (3)")
    parser.add_argument("--core", type=int, default=1, metavar="N", help="the core that all runs are pinned to (1)")
    parser.add_argument("--effort", choices=["quick", "full"], default="full", help="quick only shows that all runs and is right")
    parser.add_argument("--output", default="out/benchmarks", metavar="DIR", help="the folder to write to (out/benchmarks)")
    parser.add_argument("--no-build", action="store_true", help="take the Benchmark program that is there")
    parser.add_argument("--no-scale", action="store_true", help="leave out the runs with many users")
    # For work on this program: what the Benchmark program would have printed.
    parser.add_argument("--attune-json", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.passes < 1:
        parser.error("--passes is at least 1")
    options.output = pathlib.Path(options.output).absolute()
    return options


def show(text):
    if sys.stderr.isatty():
        print(f"compare: {text}", file=sys.stderr, flush=True)


def run(command):
    """Runs a command at the root of the repository. What it says on standard error is let through."""
    command = [str(word) for word in command]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        raise Failure(f"exit code {ended.returncode} from: {shlex.join(command)}\n{ended.stdout}")
    return ended.stdout


def parsed(text, source):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Failure(f"no JSON from {source}: {error}") from error


def pinned(core, command):
    return ["taskset", "--cpu-list", core, *command] if shutil.which("taskset") else command


def run_attune(options, what):
    if options.attune_json:
        return parsed(pathlib.Path(options.attune_json).read_text(), options.attune_json)
    quick = ["--quick"] if options.effort == "quick" else []
    command = [BENCHMARK, what, "--format", "json", *quick]
    # Many users are timed with two threads too.
    if what == "kernels":
        command = pinned(options.core, [*command, "--shapes", ATTUNE_SHAPES])
    return parsed(run(command), f"Benchmark {what}")


def run_peer(options, peer, folder):
    output = pathlib.Path(folder, f"{peer}.json")
    run(pinned(options.core, [sys.executable, HERE / "peers.py", "--only", peer, "--effort", options.effort, "--output", output]))
    return parsed(output.read_text(), f"peers.py for {peer}")


def identity(row):
    return row["name"], row["implementation"], row["dimension"], row["rank"], row["threads"]


def merged_cases(rows):
    """One row for each case: the least of the passes' minima, the median of their medians, and the worst of the rest."""
    groups = {}
    for row in rows:
        groups.setdefault(identity(row), []).append(row)
    merged = []
    for group in groups.values():
        row = group[0] | {"passes": len(group), "min_ns": min(r["min_ns"] for r in group)}
        row["median_ns"] = statistics.median(r["median_ns"] for r in group)
        for field, of in (("chunks", sum), ("calls_per_chunk", min), ("cpu_share", min), ("allocations", max)):
            values = [r[field] for r in group if r.get(field) is not None]
            if values:
                row[field] = of(values)
        for amount, rate in (("bytes", "gigabytes_per_second"), ("flop", "gigaflop_per_second")):
            if row.get(amount) is not None:
                row[rate] = row[amount] / row["min_ns"]
        merged.append(row)
    return merged


def add_ratios(cases):
    """Attune's time over each reference's, and each peer's time over Attune's: of the minima, and of the medians."""
    known = {identity(row): row for row in cases}
    for row in cases:
        name, implementation, *rest = identity(row)
        if implementation == "attune":
            pairs = [(f"{reference}_ratio", row, known.get((name, reference, *rest))) for reference in REFERENCES]
        elif implementation not in REFERENCES:
            pairs = [("times_attune", row, known.get((SAME_WORK.get(name, name), "attune", *rest)))]
        else:
            pairs = []
        for field, over, under in pairs:
            if over and under:
                row[field] = over["min_ns"] / under["min_ns"]
                row[f"{field}_median"] = over["median_ns"] / under["median_ns"]


def merged_machine(machines):
    """The machine's facts; of what was measured in each pass, the best, as it is a limit."""
    machine = {}
    for facts in machines:
        for name, value in facts.items():
            number = isinstance(value, (int, float))
            machine[name] = max(machine.get(name, value), value) if number else value
    return machine


def circumstances(options):
    load = os.getloadavg()
    facts = {
        "command": shlex.join(["Benchmarks/peers/compare", *sys.argv[1:]]),
        "revision": run(["git", "describe", "--always", "--dirty"]).strip(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "system": platform.platform(),
        "passes": options.passes,
        "effort": options.effort,
        "core": options.core if shutil.which("taskset") else None,
        "cores": os.cpu_count(),
        "load_average_at_start": load[0],
    }
    if shutil.which("swift"):
        facts["swift"] = run(["swift", "--version"]).splitlines()[0]
    return facts


def measure(options):
    facts = circumstances(options)
    versions, machines, rows = {}, [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.passes + 1):
            show(f"pass {number} of {options.passes}: Attune and the references")
            attune = run_attune(options, "kernels")
            machines.append(attune.get("machine", {}))
            rows += attune["cases"]
            for peer in PEERS:
                show(f"pass {number} of {options.passes}: {peer}")
                results = run_peer(options, peer, folder)
                versions |= results["versions"]
                rows += results["cases"]
    cases = merged_cases(rows)
    add_ratios(cases)
    results = {"run": facts, "machine": merged_machine(machines), "versions": versions, "cases": cases, "scale": []}
    if not options.no_scale:
        show("many users")
        results["scale"] = run_attune(options, "scale").get("scale", [])
    if not options.attune_json:
        results["start"] = parsed(run([BENCHMARK, "start", "--format", "json"]), "Benchmark start")["start"]
    return results


def write(results, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    with open(folder / "results.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(results["cases"])
    (folder / "report.html").write_text(report.page(results))


def summary(results):
    """A line for each case that has a goal."""
    for name, goal, ratio in report.goal_ratios(results):
        if ratio is None:
            yield f"{name:20} not measured"
        else:
            yield f"{name:20} {ratio:5.2f} times the fused reference, goal {goal:.2f}{'' if ratio <= goal else ': missed'}"
    for text, goal, value, met in report.other_goals(results):
        yield f"{text}: {'not measured' if met is None else f'{value}, {goal}' + ('' if met else ': missed')}"


def main():
    options = arguments()
    try:
        if not (options.no_build or options.attune_json):
            show("building the benchmarks")
            run("swift build -c release --package-path Benchmarks --scratch-path .build-benchmarks".split())
        results = measure(options)
    except Failure as failure:
        sys.exit(f"compare: {failure}")
    write(results, options.output)
    print(*summary(results), f"Written: {options.output}/results.json, results.csv, report.html", sep="\n")


if __name__ == "__main__":
    main()
