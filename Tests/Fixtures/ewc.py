"""ewc.json: SGD with an anchored, implicit EWC step, NumPy, Float64, on the problem of fixture.py.

Per step t (from 1), at the current theta:
    g       = gradient(t, theta)                                      the data gradient
    acc     = gamma * acc + (1 - gamma) * g^2                         before clipping and penalty; n += 1
    theta'  = theta - rate * clip(g)                                  clip: times min(1, threshold / |g|), or none
    theta   = (theta' + rate * lambda * F * anchor) / (1 + rate * lambda * F)
and after the update of step 25 the anchor is renewed:
    F       = acc / (1 - gamma^n), then divided by its mean;  anchor = theta;  acc = 0, n = 0
Only the F that is frozen enters the step. At the start: anchor = theta0, acc = 0, n = 0, and F as the case says.

Online EWC in the literature (Schwarz 2018) goes on decaying acc over anchors instead of restarting it. That makes no
difference to theta here, as there is one renewal; both are recorded at the end.
"""

import math

import numpy as np

import fixture

STEPS, RENEWAL = 50, 25
RATE, GAMMA = 0.1, 0.95
SAVED = [1, 2, 3, 10, 25, 26, 50]
THETA0 = np.array(fixture.theta0())


def scaled_to_mean_one(fisher):
    return fisher / fisher.mean()


FIRST_FISHERS = {
    "formula": scaled_to_mean_one(np.array([1 + 0.9 * math.sin(2 + i) for i in range(fixture.COUNT)])),
    "ones": np.ones(fixture.COUNT),
    "zeros": np.zeros(fixture.COUNT),  # no consolidation yet: the penalty does nothing until the renewal
}


def run(strength, fisher, threshold):
    theta, anchor, F = THETA0, THETA0, fisher
    acc, count = np.zeros_like(theta), 0
    continued, all_gradients = np.zeros_like(theta), []
    saved, renewal = [], None
    for t in range(1, STEPS + 1):
        g = np.array(fixture.gradient(t, theta))
        all_gradients.append(g)
        acc = GAMMA * acc + (1 - GAMMA) * g**2
        continued = GAMMA * continued + (1 - GAMMA) * g**2
        count += 1

        norm = math.sqrt(math.fsum(g**2))
        clipped = g if threshold is None else g * min(1.0, threshold / norm)
        explicit = theta - RATE * clipped
        theta = (explicit + RATE * strength * F * anchor) / (1 + RATE * strength * F)
        # The implicit step makes |theta - theta'|^2 / (2 rate) + (lambda / 2) sum F (theta - anchor)^2 stationary.
        residual = (theta - explicit) / RATE + strength * F * (theta - anchor)
        assert np.max(np.abs(residual)) < 1e-13 * (1 + strength), residual

        penalty = 0.5 * strength * float(np.sum(F * (theta - anchor) ** 2))
        if t in SAVED:
            saved.append({"step": t, "penalty": penalty, "values": theta.tolist()})
        if t == RENEWAL:
            raw = acc / (1 - GAMMA**count)
            # The bias-corrected decayed mean is the weighted mean with weights gamma^(age).
            weights = np.array([GAMMA ** (t - 1 - k) for k in range(t)])
            assert np.allclose(raw, weights @ np.square(all_gradients) / weights.sum(), rtol=1e-13, atol=0)
            F, anchor = scaled_to_mean_one(raw), theta
            assert abs(F.mean() - 1) < 1e-14
            renewal = {"accumulated": acc.tolist(), "corrected": raw.tolist(), "fisher": F.tolist(),
                       "anchor": anchor.tolist()}
            acc, count = np.zeros_like(theta), 0
    return saved, renewal, acc, continued, theta


def deviation_in_single(strength, fisher, threshold, wanted):
    """What Float32 parameters, anchor and Fisher make of it."""
    f = np.float32
    theta, anchor, F = THETA0.astype(f), THETA0.astype(f), fisher.astype(f)
    acc, count, worst = np.zeros_like(theta), 0, 0.0
    for t in range(1, STEPS + 1):
        g = np.array(fixture.gradient(t, theta)).astype(f)
        acc, count = f(GAMMA) * acc + f(1 - GAMMA) * g * g, count + 1
        scale = f(1) if threshold is None else f(min(1.0, threshold / float(np.linalg.norm(g))))
        pull = f(RATE) * f(strength) * F
        theta = (theta - f(RATE) * (g * scale) + pull * anchor) / (f(1) + pull)
        if t in wanted:
            worst = max(worst, float(np.max(np.abs(theta - wanted[t]))))
        if t == RENEWAL:
            F, anchor = (acc / acc.mean()).astype(f), theta  # the bias correction cancels in the scaling
            acc, count = np.zeros_like(theta), 0
    assert theta.dtype == f
    return worst


CASES = [(strength, "formula", None) for strength in (0.0, 0.01, 10.0, 1000.0)]
CASES += [(10.0, "ones", None), (10.0, "zeros", None), (0.01, "formula", 0.3), (10.0, "formula", 0.3)]

cases, finals = [], {}
for strength, first, threshold in CASES:
    saved, renewal, acc, continued, theta = run(strength, FIRST_FISHERS[first], threshold)
    single = deviation_in_single(strength, FIRST_FISHERS[first], threshold,
                                 {s["step"]: np.array(s["values"]) for s in saved})
    finals[strength, first, threshold] = theta
    name = f"lambda {strength:g}, first Fisher {first}" + (f", clip {threshold:g}" if threshold else "")
    print(f"{name:48} moved {np.max(np.abs(theta - THETA0)):.2e}  float32 {single:.1e}")
    cases.append({
        "name": name, "lambda": strength, "firstFisher": first, "clipThreshold": threshold, "float32Deviation": single,
        "theta": saved, "renewal": renewal,
        "accumulatedAtEnd": acc.tolist(), "accumulatedAtEndContinued": continued.tolist(),
    })

# lambda 0 is plain SGD; a stronger pull keeps theta nearer to where it began.
plain = THETA0
for t in range(1, STEPS + 1):
    plain = plain - RATE * np.array(fixture.gradient(t, plain))
assert np.array_equal(plain, finals[0.0, "formula", None])
distances = [np.linalg.norm(finals[s, "formula", None] - THETA0) for s in (0.0, 0.01, 10.0, 1000.0)]
assert distances == sorted(distances, reverse=True), distances

fixture.write(__file__, "ewc.json", {
    "source": f"NumPy {np.__version__}, Float64",
    "problem": {**fixture.PROBLEM, "steps": STEPS},
    "learningRate": RATE, "gamma": GAMMA, "renewalAfterStep": RENEWAL,
    "formulas": {
        "accumulate": "acc = gamma * acc + (1 - gamma) * g^2; g before clipping and penalty",
        "step": "theta' = theta - rate * clip(g); theta = (theta' + rate * lambda * F * anchor) / (1 + rate * lambda * F); "
        "clip(g) = g * min(1, clipThreshold / |g|) over all 49 values, or g where clipThreshold is null",
        "renewal": "after the update of step 25: corrected = acc / (1 - gamma^25); F = corrected / mean(corrected); "
        "anchor = theta; acc = 0 and its count = 0",
        "penalty": "0.5 * lambda * sum(F * (theta - anchor)^2) after the step, with the F and anchor used in it",
        "firstFisher": "formula: 1 + 0.9 * sin(2 + i), divided by its mean; ones; zeros",
        "accumulatedAtEnd": "acc after step 50, restarted at the renewal; ...Continued: never restarted",
    },
    "firstFishers": {name: F.tolist() for name, F in FIRST_FISHERS.items()},
    "cases": cases,
})
