"""optimizers_numpy.json: two optimizers that torch.optim lacks, written from their papers in NumPy, Float64.

DoG, Ivgi, Hinder, Carmon 2023, arXiv 2302.12022, without averaging:
    r_t   = max(repsRel * (1 + |theta_0|), max over i <= t of |theta_i - theta_0|)
    G_t   = sum over i <= t of |g_i|^2
    theta -= r_t / sqrt(G_t + epsilon) * g_t        one distance and one sum for A, Bt and b together

Riemannian preconditioned SGD, Zhang & Pilanci 2024, arXiv 2402.02347, in the layout A [r,d], Bt [r,d]:
    A  -= rate * inverse(Bt Bt^T + delta I) gradA
    Bt -= rate * inverse(A A^T + delta I) gradBt     both inverses from the parameters before the step
    b  -= rate * gradb

theta0 of fixture.py makes A and Bt of rank 2, not 3, for sin(1 + i) obeys a two-term recurrence. The preconditioners are
then as ill-conditioned as delta lets them be, which is a fair stress in Float64 and a hopeless one in Float32. So there is a
second start, "generic", of full rank. Each case records what Float32 parameters make of it.
"""

import math

import numpy as np

import fixture

STEPS = 200
SAVED = [1, 2, 3, 10, 50, 100, 200]
R, D = fixture.RANK, fixture.DIMENSION

STARTS = {
    "standard": np.array(fixture.theta0()),
    "generic": np.array([0.3 * math.sin(1 + i + 0.37 * i * i) for i in range(fixture.COUNT)]),
}


def parts(theta):
    return theta[: R * D].reshape(R, D), theta[R * D : 2 * R * D].reshape(R, D), theta[2 * R * D :]


def dog(start, settings, dtype):
    """Yields (theta after the step, facts about the step). Parameters are kept in `dtype`, all else in Float64."""
    theta = start.astype(dtype)
    origin = theta.astype(np.float64)
    distance = settings["repsRel"] * (1 + np.linalg.norm(origin))
    total = 0.0
    for t in range(1, STEPS + 1):
        g = np.array(fixture.gradient(t, theta))
        distance = max(distance, np.linalg.norm(theta.astype(np.float64) - origin))
        total += g @ g
        rate = distance / math.sqrt(total + settings["epsilon"])
        theta = (theta - rate * g).astype(dtype)
        yield theta, {"rate": float(rate), "distance": float(distance)}


def riemannian(start, settings, dtype):
    theta = start.astype(dtype)
    rate, ridge = settings["learningRate"], settings["delta"] * np.eye(R)
    for t in range(1, STEPS + 1):
        A, Bt, b = parts(theta.astype(np.float64))
        gA, gBt, gb = parts(np.array(fixture.gradient(t, theta)))
        forA, forBt = Bt @ Bt.T + ridge, A @ A.T + ridge
        theta = np.concatenate([
            (A - rate * np.linalg.solve(forA, gA)).ravel(),
            (Bt - rate * np.linalg.solve(forBt, gBt)).ravel(),
            b - rate * gb,
        ]).astype(dtype)
        yield theta, {"conditionForA": float(np.linalg.cond(forA)), "conditionForBt": float(np.linalg.cond(forBt))}


# Checks: the same rules once more, differently.

def dog_again(start, settings):
    """From the whole history, exactly as the formula reads."""
    thetas, gradients = [start], []
    for t in range(1, STEPS + 1):
        gradients.append(np.array(fixture.gradient(t, thetas[-1])))
        farthest = max(math.sqrt(math.fsum((x - start) ** 2)) for x in thetas)
        r = max(settings["repsRel"] * (1 + math.sqrt(math.fsum(start**2))), farthest)
        G = math.fsum(x for g in gradients for x in g**2)
        thetas.append(thetas[-1] - r / math.sqrt(G + settings["epsilon"]) * gradients[-1])
    return thetas[1:]


def riemannian_again(start, settings):
    """On B [d, r] rather than Bt, as in the paper, by the eigenvectors of the preconditioners instead of a solve."""

    def inverse(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return vectors / (np.maximum(values, 0) + settings["delta"]) @ vectors.T

    theta, result = start, []
    for t in range(1, STEPS + 1):
        A, Bt, b = parts(theta)
        gA, gBt, gb = parts(np.array(fixture.gradient(t, theta)))
        B, gB, rate = Bt.T, gBt.T, settings["learningRate"]
        newA, newB = A - rate * inverse(B.T @ B) @ gA, B - rate * gB @ inverse(A @ A.T)
        theta = np.concatenate([newA.ravel(), newB.T.ravel(), b - rate * gb])
        result.append(theta)
    return result


CASES = [
    ("dog", "standard", {"repsRel": 1e-6, "epsilon": 1e-8}),
    ("dog", "standard", {"repsRel": 1e-3, "epsilon": 1e-8}),
    ("dog", "generic", {"repsRel": 1e-3, "epsilon": 1e-8}),
    ("dog", "generic", {"repsRel": 0.1, "epsilon": 1.0}),
    ("riemannian", "standard", {"learningRate": 1e-3, "delta": 1e-2}),
    ("riemannian", "standard", {"learningRate": 1e-6, "delta": 1e-6}),
    ("riemannian", "generic", {"learningRate": 1e-3, "delta": 1e-2}),
    ("riemannian", "generic", {"learningRate": 1e-2, "delta": 1e-2}),
    ("riemannian", "generic", {"learningRate": 1e-3, "delta": 1e-6}),
    ("riemannian", "generic", {"learningRate": 1e-2, "delta": 1e-6}),
]

cases = []
for kind, start_name, settings in CASES:
    start = STARTS[start_name]
    rule, again = (dog, dog_again) if kind == "dog" else (riemannian, riemannian_again)
    thetas, facts = zip(*rule(start, settings, np.float64))
    largest = float(np.max(np.abs(thetas)))
    error = float(np.max(np.abs(np.array(thetas) - again(start, settings))))
    single = float(np.max(np.abs(np.array(thetas) - [x for x, _ in rule(start, settings, np.float32)])))
    moved = float(np.max(np.abs(thetas[-1] - start)))
    extra = {"rates": [f["rate"] for f in facts], "distances": [f["distance"] for f in facts]} if kind == "dog" else {
        "worstConditionForA": max(f["conditionForA"] for f in facts),
        "worstConditionForBt": max(f["conditionForBt"] for f in facts)}
    worst = max(extra.get("worstConditionForA", 1), extra.get("worstConditionForBt", 1))
    name = f"{kind} {start_name} " + " ".join(f"{key} {value:g}" for key, value in settings.items())
    print(f"{name:52} again {error:.1e}  float32 {single:.1e}  largest {largest:.3g}  moved {moved:.2g}  cond {worst:.1e}")
    assert math.isfinite(largest) and error < 1e-14 * worst * max(1, largest) * 10, name
    cases.append({
        "name": name, "kind": kind, "start": start_name, "settings": settings,
        "agreement": error, "float32Deviation": single, **extra,
        "theta": [{"step": t, "values": thetas[t - 1].tolist()} for t in SAVED],
    })

fixture.write(__file__, "optimizers_numpy.json", {
    "source": f"NumPy {np.__version__}, Float64, from the papers",
    "problem": {**fixture.PROBLEM, "steps": STEPS,
                "genericFormula": "theta0[i] = 0.3 * sin(1 + i + 0.37 * i * i)"},
    "starts": {name: start.tolist() for name, start in STARTS.items()},
    "formulas": {
        "dog": "distance = max(distance, |theta - theta0|), at first repsRel * (1 + |theta0|); total += |g|^2; "
        "rate = distance / sqrt(total + epsilon); theta -= rate * g; norms over A, Bt, b together; no averaging; "
        "rates[t-1] and distances[t-1] are those used in step t",
        "riemannian": "A -= rate * (Bt Bt^T + delta I)^-1 gradA; Bt -= rate * (A A^T + delta I)^-1 gradBt; b -= rate * gradb; "
        "both preconditioners from before the step",
    },
    "cases": cases,
})
