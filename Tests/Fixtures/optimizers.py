"""optimizers.json: 200 steps of torch.optim optimizers on the problem of fixture.py, in Float64.

Each case is checked against the update rule written out below in plain Python. It is also run by PyTorch in Float32, and
the largest deviation is recorded: a Float32 implementation should deviate by about as much, not by much more or much less.
"""

import math

import torch

import fixture

torch.set_num_threads(1)

STEPS = 200
SAVED = [1, 2, 3, 10, 50, 100, 200]


# Update rules by hand: state is a dict per parameter, t counts from 1.

def sgd_by_hand(p, g, s, t, learningRate, momentum, dampening, nesterov, weightDecay):
    g += weightDecay * p
    if momentum:
        s["v"] = g if t == 1 else momentum * s["v"] + (1 - dampening) * g  # the first step is not dampened
        g = g + momentum * s["v"] if nesterov else s["v"]
    return p - learningRate * g


def adagrad_by_hand(p, g, s, t, learningRate, learningRateDecay, weightDecay, initialAccumulator, epsilon):
    g += weightDecay * p
    s["sum"] = s.get("sum", initialAccumulator) + g * g
    return p - learningRate / (1 + (t - 1) * learningRateDecay) * g / (math.sqrt(s["sum"]) + epsilon)


def adam_by_hand(p, g, s, t, learningRate, beta1, beta2, epsilon, weightDecay, decoupled=False):
    if decoupled:
        p *= 1 - learningRate * weightDecay
    else:
        g += weightDecay * p
    s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * g * g
    m, v = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t)
    return p - learningRate * m / (math.sqrt(v) + epsilon)


def adamw_by_hand(*arguments, **settings):
    return adam_by_hand(*arguments, **settings, decoupled=True)


def torch_sgd(p, s):
    return torch.optim.SGD([p], lr=s["learningRate"], momentum=s["momentum"], dampening=s["dampening"],
                           nesterov=s["nesterov"], weight_decay=s["weightDecay"], foreach=False)


def torch_adagrad(p, s):
    return torch.optim.Adagrad([p], lr=s["learningRate"], lr_decay=s["learningRateDecay"], weight_decay=s["weightDecay"],
                               initial_accumulator_value=s["initialAccumulator"], eps=s["epsilon"], foreach=False)


def torch_adam(p, s, optimizer=torch.optim.Adam):
    return optimizer([p], lr=s["learningRate"], betas=(s["beta1"], s["beta2"]), eps=s["epsilon"],
                     weight_decay=s["weightDecay"], foreach=False)


def torch_adamw(p, s):
    return torch_adam(p, s, torch.optim.AdamW)


FORMULAS = {
    "sgd": "g += weightDecay * theta; with momentum: v = g at t = 1, else momentum * v + (1 - dampening) * g; "
    "g = nesterov ? g + momentum * v : v; theta -= learningRate * g",
    "adagrad": "g += weightDecay * theta; sum += g^2 from initialAccumulator; "
    "theta -= learningRate / (1 + (t - 1) * learningRateDecay) * g / (sqrt(sum) + epsilon)",
    "adam": "g += weightDecay * theta; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2; "
    "theta -= learningRate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)",
    "adamw": "theta *= 1 - learningRate * weightDecay; then as adam with weightDecay 0",
}

SGD = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weightDecay": 0.0}
ADAGRAD = {"learningRateDecay": 0.0, "weightDecay": 0.0, "initialAccumulator": 0.0, "epsilon": 1e-10}
ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 0.0}

# Kind: PyTorch, by hand, PyTorch's defaults for its settings, learning rates, and the variants by name.
OPTIMIZERS = {
    "sgd": (torch_sgd, sgd_by_hand, SGD, (0.01, 0.1, 1.0), {
        "plain": {},
        "momentum": {"momentum": 0.9},
        "nesterov": {"momentum": 0.9, "nesterov": True},
        "dampening": {"momentum": 0.9, "dampening": 0.1},
        "weightDecay": {"weightDecay": 0.01},
    }),
    "adagrad": (torch_adagrad, adagrad_by_hand, ADAGRAD, (0.01, 0.1), {
        "plain": {},
        "decayAndAccumulator": {"learningRateDecay": 0.01, "initialAccumulator": 0.1, "epsilon": 1e-6},
        "weightDecay": {"weightDecay": 0.01},
    }),
    "adam": (torch_adam, adam_by_hand, ADAM, (0.001, 0.01, 0.1), {
        "plain": {},
        "weightDecay": {"weightDecay": 0.01},
        "otherBetas": {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-4},
    }),
    "adamw": (torch_adamw, adamw_by_hand, ADAM, (0.001, 0.01, 0.1), {
        "weightDecay": {"weightDecay": 0.01},
    }),
}


def torch_run(make, settings, dtype=torch.float64):
    """{step: theta after it} for every step."""
    theta = torch.tensor(fixture.theta0(), dtype=dtype, requires_grad=True)
    optimizer = make(theta, settings)
    after = {}
    for t in range(1, STEPS + 1):
        theta.grad = torch.tensor(fixture.gradient(t, theta.tolist()), dtype=dtype)
        optimizer.step()
        after[t] = theta.tolist()
    return after


def by_hand_run(rule, settings):
    theta = fixture.theta0()
    states = [{} for _ in theta]
    after = {}
    for t in range(1, STEPS + 1):
        g = fixture.gradient(t, theta)
        theta = [rule(theta[i], g[i], states[i], t, **settings) for i in range(len(theta))]
        after[t] = theta
    return after


def deviation(one, other):
    return max(abs(a - b) for t in one for a, b in zip(one[t], other[t]))


cases = []
for kind, (make, by_hand, defaults, rates, variants) in OPTIMIZERS.items():
    for variant, changed in variants.items():
        for rate in rates:
            settings = {"learningRate": rate, **defaults, **changed}
            after = torch_run(make, settings)
            error = deviation(after, by_hand_run(by_hand, settings))
            largest = max(abs(x) for values in after.values() for x in values)
            assert math.isfinite(largest) and error < 1e-12 * max(1, largest), (kind, settings, error)
            single = deviation(after, torch_run(make, settings, torch.float32))
            cases.append({
                "name": f"{kind} {variant} {rate}",
                "kind": kind,
                "settings": settings,
                "float32Deviation": single,
                "theta": [{"step": t, "values": after[t]} for t in SAVED],
            })
            print(f"{cases[-1]['name']:36} by hand {error:.1e}  float32 {single:.1e}  largest {largest:.3g}")

fixture.write(__file__, "optimizers.json", {
    "source": f"torch.optim, PyTorch {torch.__version__.split('+')[0]}, Float64",
    "problem": {**fixture.PROBLEM, "steps": STEPS},
    "formulas": FORMULAS,
    "theta0": fixture.theta0(),
    "firstGradient": fixture.gradient(1, fixture.theta0()),
    "cases": cases,
})
