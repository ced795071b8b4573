"""The work through PEFT: one frozen linear layer with 64 adapters registered.

PEFT adds to a layer, so each of its forward passes has the product with the layer's d x d weight in it. Here that is the
identity, which makes the results those of the other implementations. The layer's own time is a case of its own,
`base-linear-64`, to subtract.
"""

import itertools

import peft
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

import peer_pytorch
import workload
from workload import CLIP_NORM, SGD_RATE, USERS, Case

NAMES = [f"user{user}" for user in range(USERS)]


class Base(nn.Module):
    def __init__(self, dimension):
        super().__init__()
        self.linear = nn.Linear(dimension, dimension, bias=False)
        nn.init.eye_(self.linear.weight)

    def forward(self, x):
        return self.linear(x)


class Registered:
    """A model with the 64 adapters of `workload.adapters`, and an SGD optimizer for each."""

    def __init__(self, shape, arrays):
        settings = peft.LoraConfig(
            r=shape.rank, lora_alpha=workload.SCALE * shape.rank, target_modules=["linear"], init_lora_weights=False
        )
        self.model = peft.get_peft_model(Base(shape.dimension), settings, adapter_name=NAMES[0])
        for name in NAMES[1:]:
            self.model.add_adapter(name, settings)
        self.layer = self.model.base_model.model.linear
        self.optimizers = {}
        for name, a, bt in zip(NAMES, *arrays, strict=True):
            matrices = [self.layer.lora_A[name].weight, self.layer.lora_B[name].weight]
            with torch.no_grad():
                matrices[0].copy_(torch.from_numpy(a))
                matrices[1].copy_(torch.from_numpy(bt.T))
            self.optimizers[name] = torch.optim.SGD(matrices, lr=SGD_RATE)

    def mixed(self, x):
        return self.model(x, adapter_names=NAMES)

    def switch_and_update(self, name, x, t):
        self.model.set_adapter(name)
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        mse_loss(self.model(x), t).backward()
        for matrix in optimizer.param_groups[0]["params"]:
            clip_grad_norm_(matrix, CLIP_NORM)
        optimizer.step()

    def read(self, name):
        a, b = (matrix.detach().numpy() for matrix in self.optimizers[name].param_groups[0]["params"])
        return a, b.T


def cases(shape):
    """Yields the checked cases of one shape."""
    arrays = workload.adapters(shape, USERS)
    registered = Registered(shape, arrays)
    rows = [(torch.from_numpy(x),) for x, _ in workload.samples(shape, USERS, 4)]

    # Mixed adapters are for inference only.
    registered.model.eval()
    with torch.inference_mode():
        result = registered.mixed(*rows[0])
    workload.check_forward("peft forward-mixed-64", result, *arrays, *rows[0])
    yield Case("forward-mixed-64", "peft", USERS, registered.mixed, rows, torch.inference_mode)
    yield Case("base-linear-64", "pytorch", USERS, registered.layer.base_layer, rows, torch.inference_mode)

    # The last of 64, after the first was active: a switch that did nothing would be seen.
    registered.model.train()
    registered.model.set_adapter(NAMES[0])
    workload.check_update(
        "peft update-sgd-switch",
        lambda x, t: registered.switch_and_update(NAMES[-1], torch.from_numpy(x), torch.from_numpy(t)),
        lambda: registered.read(NAMES[-1]),
        shape,
        1,
        "sgd",
    )
    single = workload.samples(shape, 1)
    turns = [(name, *map(torch.from_numpy, pair)) for name, pair in zip(NAMES, itertools.cycle(single))]
    yield Case("update-sgd-switch", "peft", 1, registered.switch_and_update, turns)


def versions():
    return peer_pytorch.versions() | {"peft": peft.__version__}
