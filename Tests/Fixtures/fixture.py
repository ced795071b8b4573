"""What the fixture scripts share: how a JSON file is written, and the one small problem
that optimizers.py, optimizers_numpy.py and ewc.py all run on."""

import json
import math
import os
from pathlib import Path


def write(script, name, payload):
    """Writes `payload` (a dict) as JSON beside `script`.

    Python prints a double as the shortest text that reads back to the same bits, so nothing is lost.
    A list of objects gets one line per object: small files, readable diffs. NaN and infinity are refused.
    """

    def text(value):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    members = []
    for key, value in payload.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value_text = "[\n" + ",\n".join(text(item) for item in value) + "\n]"
        else:
            value_text = text(value)
        members.append(f"{text(key)}:{value_text}")

    path = Path(script).resolve().with_name(name)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("{\n" + ",\n".join(members) + "\n}\n", encoding="utf-8")
    os.replace(partial, path)  # a reader never sees half a file
    print(f"{name}: {path.stat().st_size} bytes")


# The problem: 49 parameters, A [3, 7], Bt [3, 7], b [7] flattened in that order, row-major.
RANK, DIMENSION = 3, 7
COUNT = 2 * RANK * DIMENSION + DIMENSION

PROBLEM = {
    "rank": RANK,
    "dimension": DIMENSION,
    "count": COUNT,
    "layout": "A [3,7], Bt [3,7], b [7], flattened in that order, row-major",
    "theta0Formula": "theta0[i] = 0.3 * sin(1 + i), i from 0, Float64",
    "gradientFormula": "g[i] = sin(0.1 * t * (i + 1)) * 0.5 + 0.05 * theta[i], t from 1, i from 0, evaluated left to "
    "right in Float64 from theta before the step",
}


def theta0():
    return [0.3 * math.sin(1 + i) for i in range(COUNT)]


def gradient(step, theta):
    """The gradient at `step` (from 1) for `theta`, a sequence of 49 numbers, as a list of Python floats."""
    return [math.sin(0.1 * step * (i + 1)) * 0.5 + 0.05 * float(theta[i]) for i in range(COUNT)]
