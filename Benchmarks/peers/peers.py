"""Times NumPy, PyTorch and PEFT at the work that Attune does, in one process and on one thread.

    peers.py [--only numpy,pytorch,peft] [--shapes 64/4 384/8 ...] [--effort quick|full] [--output FILE]

Writes JSON: the versions, and for each case the nanoseconds of one whole call (a batch of 32 is one call). Every result
is compared with Float64 before its time is taken; a wrong one ends the program with exit code 1.
"""

import argparse
import importlib
import json
import os
import platform
import sys

# The libraries read these when they are loaded. A kernel forced on OpenBLAS would make it slower than it is; the one
# that it chooses is in the output.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
os.environ["HF_HUB_OFFLINE"] = "1"  # PEFT has nothing to fetch

import threadpoolctl

import timing
import workload

PEERS = ["numpy", "pytorch", "peft"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=peer_list, default=PEERS, metavar="numpy,pytorch,peft", help="these libraries only")
    parser.add_argument(
        "--shapes", nargs="+", type=workload.Shape.parse, default=workload.DEFAULT_SHAPES, metavar="D/R", help="dimension/rank"
    )
    parser.add_argument("--effort", choices=timing.EFFORTS, default="full", help="quick only shows that all runs and is right")
    parser.add_argument("--output", metavar="FILE", help="where to write the JSON instead of standard output")
    return parser.parse_args()


def peer_list(text):
    names = text.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]}; there are {', '.join(PEERS)}")
    return names


def load(name):
    """The module of one peer, with its library on one thread."""
    if name != "numpy":
        import torch

        torch.set_num_threads(1)
    return importlib.import_module(f"peer_{name}")


def openblas():
    """The version and the kernel of NumPy's OpenBLAS. Every library must have one thread."""
    pools = threadpoolctl.threadpool_info()
    for pool in pools:
        if pool["num_threads"] != 1:
            raise RuntimeError(f"{pool['filepath']} has {pool['num_threads']} threads instead of 1")
    blas = next(pool for pool in pools if pool["internal_api"] == "openblas")
    return f"{blas['version']} ({blas['architecture']})"


def show(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def run(options):
    # All libraries are loaded before anything is timed.
    modules = {name: load(name) for name in options.only}
    versions = {"python": platform.python_version(), "openblas": openblas()}
    rows = []
    for name, module in modules.items():
        versions |= module.versions()
        for shape in options.shapes:
            for case in module.cases(shape):
                show(f"{case.implementation} {case.name} {shape.dimension}/{shape.rank}")
                row = {"name": case.name, "implementation": case.implementation}
                row |= {"dimension": shape.dimension, "rank": shape.rank, "batch": case.batch, "threads": 1}
                rows.append(row | timing.measure(case, timing.EFFORTS[options.effort]))
    show("")
    return {"versions": versions, "cases": rows}


def main():
    options = arguments()
    try:
        results = run(options)
    except workload.WrongResult as error:
        show("")
        sys.exit(f"peers: a wrong result: {error}")
    text = json.dumps(results, indent=1) + "\n"
    if options.output:
        with open(options.output, "w") as file:
            file.write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
