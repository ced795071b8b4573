"""The work by hand in NumPy, with closed-form gradients, one user and one call at a time."""

import math

import numpy as np

import workload
from workload import ADAM_DECAYS, ADAM_EPSILON, ADAM_RATE, CLIP_NORM, SCALE, SGD_RATE, Case


def clip(gradient):
    norm = math.sqrt(np.vdot(gradient, gradient))
    if norm > CLIP_NORM:
        gradient *= CLIP_NORM / norm


def gradients(a, bt, x, t):
    """Of one sample, x [d]."""
    hidden = a @ x
    error = x + SCALE * (hidden @ bt) - t
    error *= 2 * SCALE / x.size
    return np.outer(bt @ error, x), np.outer(hidden, error)


def batch_gradients(a, bt, x, t):
    """Of several samples of one user, x [n, d]."""
    hidden = x @ a.T
    error = x + SCALE * (hidden @ bt) - t
    error *= 2 * SCALE / x.size
    return (error @ bt.T).T @ x, hidden.T @ error


class SGD:
    def __init__(self, gradients, a, bt):
        self.gradients, self.a, self.bt = gradients, a.copy(), bt.copy()

    def update(self, x, t):
        for parameter, gradient in zip((self.a, self.bt), self.gradients(self.a, self.bt, x, t)):
            clip(gradient)
            gradient *= SGD_RATE
            parameter -= gradient


class Adam:
    def __init__(self, gradients, a, bt):
        self.gradients, self.a, self.bt, self.steps = gradients, a.copy(), bt.copy(), 0
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in (a, bt)]

    def update(self, x, t):
        self.steps += 1
        first, second = ADAM_DECAYS
        rate = ADAM_RATE / (1 - first**self.steps)
        correction = 1 / math.sqrt(1 - second**self.steps)
        gradients = self.gradients(self.a, self.bt, x, t)
        for parameter, gradient, (mean, square) in zip((self.a, self.bt), gradients, self.moments):
            clip(gradient)
            mean *= first
            mean += (1 - first) * gradient
            square *= second
            gradient *= gradient
            gradient *= 1 - second
            square += gradient
            denominator = np.sqrt(square)
            denominator *= correction
            denominator += ADAM_EPSILON
            parameter -= rate * mean / denominator


def cases(shape):
    """Yields the checked cases of one shape."""
    many_a, many_bt = workload.adapters(shape, workload.USERS)
    a, bt = many_a[0], many_bt[0]
    single = [(x[0], t[0]) for x, t in workload.samples(shape, 1)]

    def forward(x):
        return x + SCALE * ((a @ x) @ bt)

    x = single[0][0]
    workload.check_forward("numpy forward", forward(x)[None], many_a[:1], many_bt[:1], x[None])
    yield Case("forward", "numpy", 1, forward, [(x,) for x, _ in single])

    for name, optimizer in (("sgd", SGD), ("adam", Adam)):
        state = optimizer(gradients, a, bt)
        workload.check_update(
            f"numpy update-{name}", lambda x, t: state.update(x[0], t[0]), lambda: (state.a, state.bt), shape, 1, name
        )
        yield Case(f"update-{name}", "numpy", 1, state.update, single)

    state = SGD(batch_gradients, a, bt)
    workload.check_update("numpy update-batch-32", state.update, lambda: (state.a, state.bt), shape, workload.BATCH, "sgd")
    batches = [tuple(pair) for pair in workload.samples(shape, workload.BATCH, 4)]
    yield Case("update-batch-32", "numpy", workload.BATCH, state.update, batches)

    def mixed(x):
        hidden = np.matmul(many_a, x[:, :, None])
        return x + SCALE * np.matmul(hidden.transpose(0, 2, 1), many_bt)[:, 0]

    rows = [(x,) for x, _ in workload.samples(shape, workload.USERS, 4)]
    workload.check_forward("numpy forward-mixed-64", mixed(*rows[0]), many_a, many_bt, *rows[0])
    yield Case("forward-mixed-64", "numpy", workload.USERS, mixed, rows)


def versions():
    return {"numpy": np.__version__}
