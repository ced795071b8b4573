"""The work that every implementation does, its inputs, and the plain Float64 answer that results are held against.

One adapter of dimension d and rank r is A [r, d] and Bt [r, d]: B is stored transposed, as Attune stores it.

    forward   y = x + SCALE * B (A x)
    update    loss = mean((y - t)^2) over all entries; the gradients of A and of B are each clipped to norm CLIP_NORM;
              then one step of SGD or of Adam

A batch of n samples of one user is one update by the mean loss. A mixed batch has one row for each of 64 users.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

SCALE = 1.0  # alpha / rank, with alpha = rank
CLIP_NORM = 1.0
SGD_RATE = 0.01
ADAM_RATE = 0.0001
ADAM_DECAYS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
USERS = 64
BATCH = 32


class WrongResult(Exception):
    """An implementation computed something else than the Float64 answer."""


class Shape(NamedTuple):
    dimension: int
    rank: int

    @classmethod
    def parse(cls, text):
        """Reads "384/8"."""
        dimension, rank = (int(part) for part in text.split("/"))
        if not 1 <= rank <= dimension:
            raise ValueError(f"a rank is between 1 and the dimension, not {text}")
        return cls(dimension, rank)


DEFAULT_SHAPES = [Shape.parse(text) for text in ("64/4", "384/8", "768/8", "1536/16", "384/4", "384/16")]


class Case(NamedTuple):
    """Something to time: `call` with each of `samples` in turn. Its result has been checked."""

    name: str
    implementation: str
    batch: int
    call: Callable[..., Any]
    samples: list[tuple]
    mode: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext  # what the calls are made in


def adapters(shape, count):
    """Random A and Bt, each [count, rank, dimension], Float32. Neither is zero, so that no gradient is."""
    generator = np.random.default_rng([7, *shape])
    size = (2, count, shape.rank, shape.dimension)
    return (0.05 * generator.standard_normal(size)).astype(np.float32)


def samples(shape, rows, count=16):
    """`count` pairs of inputs and targets, each [rows, dimension], Float32, with rows of length about 1."""
    generator = np.random.default_rng([11, *shape, rows])
    size = (count, 2, rows, shape.dimension)
    return (generator.standard_normal(size) / np.sqrt(shape.dimension)).astype(np.float32)


def forward(a, bt, x):
    """Float64, x [n, d]. Like all here by einsum, which calls no BLAS."""
    return x + SCALE * np.einsum("nr,rd->nd", np.einsum("nd,rd->nr", x, a), bt)


def gradients(a, bt, x, t):
    error = 2 / x.size * (forward(a, bt, x) - t)
    hidden, back = np.einsum("nd,rd->nr", x, a), np.einsum("nd,rd->nr", error, bt)
    return SCALE * np.einsum("nr,nd->rd", back, x), SCALE * np.einsum("nr,nd->rd", hidden, error)


def clipped(gradient):
    return gradient * min(1.0, CLIP_NORM / np.sqrt(np.sum(gradient**2)))


def updated(a, bt, steps, optimizer):
    """A and Bt after one update for each (x, t) of `steps`, in Float64."""
    parameters = [np.array(a, np.float64), np.array(bt, np.float64)]
    means, squares = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    for number, (x, t) in enumerate(steps, 1):
        for i, gradient in enumerate(gradients(*parameters, x, t)):
            gradient = clipped(gradient)
            if optimizer == "sgd":
                parameters[i] = parameters[i] - SGD_RATE * gradient
                continue
            first, second = ADAM_DECAYS
            means[i] = first * means[i] + (1 - first) * gradient
            squares[i] = second * squares[i] + (1 - second) * gradient**2
            denominator = np.sqrt(squares[i] / (1 - second**number)) + ADAM_EPSILON
            parameters[i] = parameters[i] - ADAM_RATE * means[i] / (1 - first**number) / denominator
    return parameters


def check_forward(what, got, a, bt, x):
    """Holds the result `got` [n, d] against Float64; adapters [n, r, d], one for each row of x."""
    wanted = np.concatenate([forward(*pair, row[None]) for *pair, row in zip(*wide(a, bt, x), strict=True)])
    _require(what, np.asarray(got), wanted, 1e-5 * np.linalg.norm(wanted))


def check_update(what, update, read, shape, rows, optimizer):
    """Makes four updates with `update(x, t)` and holds what `read()` gives before and after against Float64.

    In two of them the targets are so far away that both gradients are clipped.
    """
    start = [np.array(p) for p in read()]
    steps = samples(shape, rows, 4)
    steps[2:, 1] *= 1e5
    if not all(np.linalg.norm(g) > CLIP_NORM for g in gradients(*wide(*start, *steps[2]))):
        raise AssertionError("the far targets are to be clipped")
    for x, t in steps:
        update(x, t)
    for name, before, after, wanted in zip(("A", "B"), start, read(), updated(*start, wide(steps)[0], optimizer), strict=True):
        # A thousandth of the change, and the rounding of parameters stored as Float32.
        allowed = 1e-3 * np.linalg.norm(wanted - before) + 1e-7 * np.linalg.norm(before)
        _require(f"{what}, {name}", after, wanted, allowed)


def wide(*arrays):
    return [np.asarray(array, np.float64) for array in arrays]


def _require(what, got, wanted, allowed):
    if got.shape != wanted.shape:
        raise WrongResult(f"{what}: the shape is {got.shape} instead of {wanted.shape}")
    error = np.linalg.norm(got - wanted)
    if not error <= allowed:  # written so that NaN is wrong, too
        raise WrongResult(f"{what}: off by {error:.3g} in norm, where {allowed:.3g} is allowed")
