"""Reads .npy and .safetensors files written by Attune, with NumPy and safetensors.

    python check_written.py FILE...

Prints one JSON object: {"files": [{"file", "format", "metadata", "tensors": [{"name", "dtype", "shape", "sum", "first"}]}]}.
"sum" is the correctly rounded sum in Float64 of all values, "first" holds up to eight of them; NaN and infinity are the
strings "nan", "inf", "-inf". A file that cannot be read, or that a strict reader would not have written so, has "error"
instead of "tensors", and the exit status is 1.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open


def number(value):
    return value if isinstance(value, int) or math.isfinite(value) else str(value)


def summary(name, dtype, shape, values):
    if all(isinstance(v, int) for v in values):
        total = sum(values)
    elif all(math.isfinite(v) for v in values):
        total = math.fsum(values)
    else:
        with np.errstate(invalid="ignore"):
            total = float(np.sum(values))  # nan or an infinity
    return {"name": name, "dtype": dtype, "shape": list(shape), "sum": number(total), "first": [number(v) for v in values[:8]]}


def read_npy(path):
    with open(path, "rb") as stream:
        version = np.lib.format.read_magic(stream)
        header_readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header_readers:
            raise ValueError(f"version {version}")
        shape, fortran_order, dtype = header_readers[version](stream)
        start = stream.tell()
    if start % 64 != 0:
        raise ValueError(f"data starts at {start}, not a multiple of 64")
    if fortran_order:
        raise ValueError("Fortran order")
    expected = start + math.prod(shape) * dtype.itemsize
    if path.stat().st_size != expected:
        raise ValueError(f"{path.stat().st_size} bytes, expected {expected}")
    value = np.load(path, allow_pickle=False)
    return {}, [summary("", dtype.str, value.shape, value.ravel().tolist())]


def read_safetensors(path):
    tensors = []
    with safe_open(path, framework="np") as source:
        names = sorted(source.keys())
        types = {name: source.get_slice(name).get_dtype() for name in names}
        for name in names:
            if types[name] != "BF16":
                value = source.get_tensor(name)
                tensors.append(summary(name, types[name], value.shape, value.ravel().tolist()))
        metadata = source.metadata() or {}
    if "BF16" in types.values():  # NumPy has no such type
        with safe_open(path, framework="pt") as source:
            for name in (n for n in names if types[n] == "BF16"):
                value = source.get_tensor(name)
                tensors.append(summary(name, "BF16", value.shape, value.flatten().tolist()))
    return metadata, sorted(tensors, key=lambda tensor: tensor["name"])


def read(file):
    path = Path(file)
    format = path.suffix.lstrip(".")
    facts = {"file": path.name, "format": format}
    try:
        if format not in ("npy", "safetensors"):
            raise ValueError("neither .npy nor .safetensors")
        metadata, tensors = read_npy(path) if format == "npy" else read_safetensors(path)
        return {**facts, "metadata": metadata, "tensors": tensors}
    except Exception as error:
        return {**facts, "error": f"{type(error).__name__}: {error}"}


if len(sys.argv) < 2:
    sys.exit(__doc__)
results = [read(file) for file in sys.argv[1:]]
print(json.dumps({"files": results}, allow_nan=False, indent=1))
sys.exit(1 if any("error" in result for result in results) else 0)
