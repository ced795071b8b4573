"""The work in PyTorch on the CPU: with autograd and torch.optim, and by hand in eager operations."""

import math

import torch
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

import workload
from workload import ADAM_DECAYS, ADAM_EPSILON, ADAM_RATE, CLIP_NORM, SCALE, SGD_RATE, Case


class Autograd:
    """Parameters, a loss, `backward`, a clip for each matrix and an optimizer's step: the way it is usually written."""

    def __init__(self, optimizer, a, bt):
        self.a, self.bt = (torch.from_numpy(p.copy()).requires_grad_() for p in (a, bt))
        parameters = [self.a, self.bt]
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(parameters, lr=SGD_RATE)
        else:
            self.optimizer = torch.optim.Adam(parameters, lr=ADAM_RATE, betas=ADAM_DECAYS, eps=ADAM_EPSILON)

    def update(self, x, t):
        self.optimizer.zero_grad()
        mse_loss(x + SCALE * ((x @ self.a.t()) @ self.bt), t).backward()
        clip_grad_norm_(self.a, CLIP_NORM)
        clip_grad_norm_(self.bt, CLIP_NORM)
        self.optimizer.step()


class ClosedForm:
    """The fewest eager operations found: gradients stay products of two vectors, whose norms follow from theirs."""

    def __init__(self, a, bt):
        self.a, self.bt = torch.from_numpy(a.copy()), torch.from_numpy(bt.copy())

    def update(self, x, t):
        hidden = self.a @ x
        error = torch.addmv(x, self.bt.t(), hidden, alpha=SCALE).sub_(t).mul_(2 * SCALE / x.numel())
        back = self.bt @ error
        norm_a = math.sqrt(float(back.dot(back)) * float(x.dot(x)))
        norm_bt = math.sqrt(float(hidden.dot(hidden)) * float(error.dot(error)))
        self.a.addr_(back, x, alpha=-SGD_RATE / max(norm_a / CLIP_NORM, 1))
        self.bt.addr_(hidden, error, alpha=-SGD_RATE / max(norm_bt / CLIP_NORM, 1))


def tensors(pairs):
    return [tuple(torch.from_numpy(array) for array in pair) for pair in pairs]


def check_update(state, what, shape, rows, optimizer):
    def update(x, t):
        state.update(*(torch.from_numpy(array[0] if isinstance(state, ClosedForm) else array) for array in (x, t)))

    workload.check_update(
        f"pytorch {what}", update, lambda: (state.a.detach().numpy(), state.bt.detach().numpy()), shape, rows, optimizer
    )


def cases(shape):
    """Yields the checked cases of one shape."""
    arrays = workload.adapters(shape, workload.USERS)
    first = arrays[:, 0]
    many_a, many_bt = torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])
    a, b = many_a[0], many_bt[0].t()
    single = tensors(workload.samples(shape, 1))
    vectors = [(x[0], t[0]) for x, t in single]

    def forward(x):
        return torch.addmv(x, b, a @ x, alpha=SCALE)

    x = vectors[0][0]
    workload.check_forward("pytorch forward", forward(x)[None], *arrays[:, :1], x[None])
    yield Case("forward", "pytorch", 1, forward, [(x,) for x, _ in vectors], torch.inference_mode)

    # As a linear layer with an adapter is usually written: a batch of one row, B as [dimension, rank].
    usual_b = many_bt[0].t().contiguous()

    def usual_forward(x):
        return x + SCALE * ((x @ a.t()) @ usual_b.t())

    workload.check_forward("pytorch forward as usual", usual_forward(x[None]), *arrays[:, :1], x[None])
    yield Case("forward", "pytorch-usual", 1, usual_forward, [(x,) for x, _ in single], torch.no_grad)

    for optimizer in ("sgd", "adam"):
        state = Autograd(optimizer, *first)
        check_update(state, f"update-{optimizer}", shape, 1, optimizer)
        yield Case(f"update-{optimizer}", "pytorch-autograd", 1, state.update, single)

    state = ClosedForm(*first)
    check_update(state, "update-sgd in closed form", shape, 1, "sgd")
    yield Case("update-sgd", "pytorch-closed-form", 1, state.update, vectors, torch.inference_mode)

    state = Autograd("sgd", *first)
    check_update(state, "update-batch-32", shape, workload.BATCH, "sgd")
    batches = tensors(workload.samples(shape, workload.BATCH, 4))
    yield Case("update-batch-32", "pytorch-autograd", workload.BATCH, state.update, batches)

    # Rows on the left of both products: several times faster here than columns on the right.
    def mixed(x):
        rows = x.unsqueeze(1)
        return torch.baddbmm(rows, torch.bmm(rows, many_a.transpose(1, 2)), many_bt, alpha=SCALE)[:, 0]

    rows = [(x,) for x, _ in tensors(workload.samples(shape, workload.USERS, 4))]
    workload.check_forward("pytorch forward-mixed-64", mixed(*rows[0]), *arrays, *rows[0])
    yield Case("forward-mixed-64", "pytorch", workload.USERS, mixed, rows, torch.inference_mode)


def versions():
    return {"torch": f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"}
