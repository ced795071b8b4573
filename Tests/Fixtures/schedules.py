"""schedules.json: learning rates of torch.optim.lr_scheduler over 200 steps.

rates[t] is the rate in force during step t (t from 0), read before scheduler.step() is called for that step.
Every list is checked against a closed form, or for reduce-on-plateau a plain state machine, written here without PyTorch.
"""

import math
import warnings

import torch
from torch.optim import lr_scheduler as torch_schedules

import fixture

torch.set_num_threads(1)
warnings.filterwarnings("ignore", message=".*epoch parameter in `scheduler.step.*")  # SequentialLR's own call

STEPS = 200
BASE = 0.1
WARM_UP_STEPS, WARM_UP_START = 10, 0.1


# Settings, the PyTorch scheduler for them, and the closed form: rate as a function of the step.

def constant():
    return torch_schedules.LambdaLR, {"lr_lambda": lambda t: 1.0}, lambda t: BASE


def step(step_size, gamma):
    return (torch_schedules.StepLR, {"step_size": step_size, "gamma": gamma},
            lambda t: BASE * gamma ** (t // step_size))


def exponential(gamma):
    return torch_schedules.ExponentialLR, {"gamma": gamma}, lambda t: BASE * gamma**t


def cosine(period, minimum):
    # Not held at the minimum after `period`: PyTorch's cosine goes up again and reaches the base rate at 2 * period.
    return (torch_schedules.CosineAnnealingLR, {"T_max": period, "eta_min": minimum},
            lambda t: minimum + (BASE - minimum) * (1 + math.cos(math.pi * t / period)) / 2)


def cosine_warm_restarts(period, multiplier, minimum):
    def rate(t):
        length = period
        while t >= length:
            t, length = t - length, length * multiplier
        return minimum + (BASE - minimum) * (1 + math.cos(math.pi * t / length)) / 2

    return torch_schedules.CosineAnnealingWarmRestarts, {"T_0": period, "T_mult": multiplier, "eta_min": minimum}, rate


def inverse_square_root(offset):
    return (torch_schedules.LambdaLR, {"lr_lambda": lambda t: 1 / math.sqrt(1 + t / offset)},
            lambda t: BASE / math.sqrt(1 + t / offset))


SCHEDULES = {
    "constant": (constant, {}),
    "step": (step, {"step_size": 30, "gamma": 0.5}),
    "exponential": (exponential, {"gamma": 0.97}),
    "cosine": (cosine, {"period": 100, "minimum": 0.01}),
    "cosineWarmRestarts2": (cosine_warm_restarts, {"period": 20, "multiplier": 2, "minimum": 0.01}),
    "cosineWarmRestarts1": (cosine_warm_restarts, {"period": 20, "multiplier": 1, "minimum": 0.01}),
    "inverseSquareRoot": (inverse_square_root, {"offset": 10}),
}

FORMULAS = {
    "constant": "base",
    "step": "base * gamma^floor(t / stepSize)",
    "exponential": "base * gamma^t",
    "cosine": "minimum + (base - minimum) * (1 + cos(pi * t / period)) / 2, for every t: it rises again after `period`",
    "cosineWarmRestarts": "as cosine with t counted from the last restart; cycle n (from 0) lasts period * multiplier^n",
    "inverseSquareRoot": "base / sqrt(1 + t / offset)",
    "reduceOnPlateau": "mode min, relative threshold: a loss is better if it is < best * (1 - threshold); after more than "
    "`patience` steps in a row that were not better, rate = max(rate * factor, minimum), then `cooldown` steps during "
    "which nothing is counted as bad; losses[t] is reported after step t and so can change rates[t + 1] first",
    "warmUp": "for t < steps: base * (start + (1 - start) * t / steps); from t = steps on, the schedule with its own step "
    "t - steps, starting from the base rate (SequentialLR). For reduceOnPlateau, which SequentialLR refuses, the same "
    "rule by hand: the plateau rule starts at t = steps and has seen no loss before losses[steps]",
}


def optimizer():
    return torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=BASE)


def run(make_scheduler):
    """The rates that PyTorch uses."""
    sgd = optimizer()
    scheduler = make_scheduler(sgd)
    rates = []
    for _ in range(STEPS):
        rates.append(float(sgd.param_groups[0]["lr"]))
        sgd.step()
        scheduler.step()
    return rates


def after_warm_up(sgd, make_scheduler):
    ramp = torch_schedules.LinearLR(sgd, start_factor=WARM_UP_START, end_factor=1.0, total_iters=WARM_UP_STEPS)
    return torch_schedules.SequentialLR(sgd, [ramp, make_scheduler(sgd)], milestones=[WARM_UP_STEPS])


def warm_up_rate(t):
    return BASE * (WARM_UP_START + (1 - WARM_UP_START) * t / WARM_UP_STEPS)


def check(name, rates, closed_form):
    worst = max(abs(rate - closed_form(t)) / closed_form(t) for t, rate in enumerate(rates))
    assert worst < 1e-13, (name, worst)  # PyTorch multiplies step by step, hence not bit by bit
    return worst


cases = []
for name, (make, settings) in SCHEDULES.items():
    scheduler_class, arguments, closed_form = make(**settings)
    kind = "cosineWarmRestarts" if name.startswith("cosineWarmRestarts") else name
    public = {"stepSize" if key == "step_size" else key: value for key, value in settings.items()}

    rates = run(lambda sgd: scheduler_class(sgd, **arguments))
    check(name, rates, closed_form)
    cases.append({"name": name, "kind": kind, "base": BASE, "settings": public, "warmUp": None, "rates": rates})

    rates = run(lambda sgd: after_warm_up(sgd, lambda inner: scheduler_class(inner, **arguments)))
    check(name, rates, lambda t: warm_up_rate(t) if t < WARM_UP_STEPS else closed_form(t - WARM_UP_STEPS))
    cases.append({"name": name + "AfterWarmUp", "kind": kind, "base": BASE, "settings": public,
                  "warmUp": {"steps": WARM_UP_STEPS, "start": WARM_UP_START}, "rates": rates})


# Reduce on plateau.

def loss(t):
    """Falls, stands still, creeps, falls again, jitters about a level, rises."""
    if t < 20:
        return 2 - 0.05 * t
    if t < 45:
        return 1.05  # a flat stretch, equal to the best
    if t < 70:
        return 1.05 * (1 - 3e-5 * (t - 44))  # creeps: significantly better only every fourth step, within patience
    if t < 95:
        return 1.04 * (1 - 1.5e-5 * (t - 69))  # creeps more slowly: better only every seventh step, beyond patience
    if t < 110:
        return 1.0 - 0.02 * (t - 95)
    if t < 160:
        return 0.8 + 0.05 * math.sin(1.7 * t)  # jitters, mostly above the best
    return 0.9 + 0.01 * (t - 160)


PLATEAU = {"factor": 0.5, "patience": 5, "threshold": 1e-4, "minimum": 1e-3}


def plateau_rates(losses, cooldown, first):
    """PyTorch's rates; the scheduler takes over at step `first`, after a linear warm-up."""
    sgd = optimizer()
    ramp = torch_schedules.LinearLR(sgd, start_factor=WARM_UP_START, end_factor=1.0, total_iters=first) if first else None
    plateau = None
    rates = []
    for t in range(STEPS):
        if t == first:
            plateau = torch_schedules.ReduceLROnPlateau(
                sgd, mode="min", factor=PLATEAU["factor"], patience=PLATEAU["patience"], threshold=PLATEAU["threshold"],
                threshold_mode="rel", cooldown=cooldown, min_lr=PLATEAU["minimum"], eps=0.0)
        rates.append(float(sgd.param_groups[0]["lr"]))
        sgd.step()
        if plateau is not None:
            plateau.step(losses[t])
        else:
            ramp.step()
    return rates


def plateau_by_hand(losses, cooldown, first):
    rate, best, bad, resting = BASE, math.inf, 0, 0
    rates, reductions = [], []
    for t in range(STEPS):
        rates.append(rate if t >= first else warm_up_rate(t))
        if t < first:
            continue
        bar = best * (1 - PLATEAU["threshold"])
        # No loss may lie so near the bar that a rounding in Float32 could decide.
        assert math.isinf(bar) or abs(losses[t] / bar - 1) > 5e-6, (t, losses[t] / bar - 1)
        if losses[t] < bar:
            best, bad = losses[t], 0
        else:
            bad += 1
        if resting > 0:
            resting, bad = resting - 1, 0
        if bad > PLATEAU["patience"]:
            rate, resting, bad = max(rate * PLATEAU["factor"], PLATEAU["minimum"]), cooldown, 0
            reductions.append(t)
    return rates, reductions


losses = [loss(t) for t in range(STEPS)]
for cooldown in (0, 2):
    for first in (0, WARM_UP_STEPS):
        rates = plateau_rates(losses, cooldown, first)
        expected, reductions = plateau_by_hand(losses, cooldown, first)
        name = f"reduceOnPlateauCooldown{cooldown}" + ("AfterWarmUp" if first else "")
        check(name, rates, lambda t: expected[t])
        assert len(reductions) >= 8 and rates[-1] == PLATEAU["minimum"]
        cases.append({"name": name, "kind": "reduceOnPlateau", "base": BASE, "settings": {**PLATEAU, "cooldown": cooldown},
                      "warmUp": {"steps": first, "start": WARM_UP_START} if first else None, "rates": rates})
        print(name, "reduces after steps", reductions)

fixture.write(__file__, "schedules.json", {
    "source": f"torch.optim.lr_scheduler, PyTorch {torch.__version__.split('+')[0]}",
    "steps": STEPS,
    "convention": "rates[t] is in force during step t, t from 0",
    "formulas": FORMULAS,
    "plateauLosses": losses,
    "cases": cases,
})
