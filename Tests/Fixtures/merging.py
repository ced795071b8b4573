"""merging.json: merged low-rank products, NumPy, Float64.

    M = rho * sum over u of w_u s_u B_u A_u        B_u = Bt_u^T, so M[i][j] = rho * sum w s sum_k Bt[k][i] A[k][j]

truncated to rank 3 by the singular value decomposition of the dense d x d matrix. Every number that goes in is first rounded
to Float32 and is written to the file in full. Checked by the route Attune takes (stack, QR, SVD of the small core), by the
eigenvectors of M^T M, and by the laws the product must obey.
"""

import math

import numpy as np

import fixture

D, KEPT = 9, 3


def matrix(rank, seed, amplitude=0.6):
    flat = [amplitude * math.sin(seed + 1.1 * n + 0.37 * n * n) for n in range(rank * D)]
    return np.float32(flat).astype(np.float64).reshape(rank, D)


def adapter(rank, seed, scale, amplitude=0.6):
    return {"scale": float(np.float32(scale)), "A": matrix(rank, seed, amplitude), "Bt": matrix(rank, seed + 0.5, amplitude)}


def gauged(original):
    """The same product from other factors: A -> G A, B -> B G^-1, G unit lower triangular with entries 0.5.

    G and its inverse are dyadic, but the products are rounded to Float32 again, so this is equal only to about 1e-7.
    """
    rank = original["A"].shape[0]
    G = np.eye(rank) + 0.5 * np.tril(np.ones((rank, rank)), -1)
    single = lambda m: np.float32(m).astype(np.float64)
    return {**original, "A": single(G @ original["A"]), "Bt": single(np.linalg.inv(G).T @ original["Bt"])}


def near(seed, common):
    """`common` with a small change: donors that agree."""
    changed = lambda m, seed: np.float32(m + matrix(len(m), seed, 0.25)).astype(np.float64)
    return {**common, "A": changed(common["A"], seed), "Bt": changed(common["Bt"], seed + 0.5)}


ADAPTERS = {
    "two": adapter(2, 1.0, 1.0),
    "three": adapter(3, 2.0, 2 / 3),
    "four": adapter(4, 3.0, 0.5),
    "threeMore": adapter(3, 4.0, 2 / math.sqrt(3)),
}
ADAPTERS["threeGauged"] = gauged(ADAPTERS["three"])
ADAPTERS["twoNegated"] = {**ADAPTERS["two"], "A": -ADAPTERS["two"]["A"]}
ADAPTERS |= {f"near{n}": near(5.0 + 1.9 * n, ADAPTERS["threeMore"]) for n in range(3)}


def product(a):
    return a["scale"] * a["Bt"].T @ a["A"]


def shrinkage(products):
    count, mean = len(products), sum(products) / len(products)
    noise = sum(np.sum((W - mean) ** 2) for W in products) / (count - 1)
    signal = max(0.0, np.sum(mean**2) - noise / count)
    return {"sigma2": float(noise), "tau2": float(signal), "meanSquaredNorm": float(np.sum(mean**2)),
            "rho": float(signal / (signal + noise / count))}


def small_core(members, weights, rho):
    """Truncation without a d x d matrix, the weights' signs on the B side."""
    sizes = [math.sqrt(abs(w * a["scale"])) for w, a in zip(weights, members)]
    left = np.hstack([rho * np.sign(w) * c * a["Bt"].T for w, c, a in zip(weights, sizes, members)])
    right = np.vstack([c * a["A"] for c, a in zip(sizes, members)])
    Q1, R1 = np.linalg.qr(left)
    Q2, R2 = np.linalg.qr(right.T)
    U, S, Vt = np.linalg.svd(R1 @ R2.T)
    return (Q1 @ U)[:, :KEPT] * S[:KEPT] @ (Q2 @ Vt.T).T[:KEPT], S


def merge(members, weights, rho):
    M = rho * sum(w * product(a) for w, a in zip(weights, members)) + 0.0  # no negative zeros
    U, S, Vt = np.linalg.svd(M)
    truncated = U[:, :KEPT] * S[:KEPT] @ Vt[:KEPT]
    tail = math.sqrt(math.fsum(S[KEPT:] ** 2))

    size = max(1.0, float(S[0]))
    assert np.allclose(U * S @ Vt, M, rtol=0, atol=1e-14 * size)
    assert abs(np.linalg.norm(M - truncated) - tail) < 1e-14 * size  # Eckart-Young
    core, values = small_core(members, weights, rho)
    padded = np.pad(values, (0, max(0, D - len(values))))[:D]
    assert np.allclose(padded, S, rtol=0, atol=1e-14 * size)
    if S[KEPT - 1] <= 1e-14 * size:  # nothing to cut off
        assert np.allclose(core, M, rtol=0, atol=1e-14 * size)
        return M, S, truncated, tail, None
    gap = float((S[KEPT - 1] - S[KEPT]) / S[0])
    assert gap > 0.02, gap  # else the truncated matrix would hang on rounding
    assert np.allclose(core, truncated, rtol=0, atol=1e-14 * size / gap)
    V = np.linalg.eigh(M.T @ M)[1][:, ::-1][:, :KEPT]
    assert np.allclose(M @ V @ V.T, truncated, rtol=0, atol=1e-12 * size)
    return M, S, truncated, tail, gap


CASES = [  # name, members, weights, divide weights by their sum, use the shrinkage factor
    ("one, weight 1", ["three"], [1.0], False, False),
    ("one of rank 2, weight 1", ["two"], [1.0], False, False),
    ("one of rank 4, weight 1", ["four"], [1.0], False, False),
    ("one, negative weight", ["four"], [-0.75], False, False),
    ("two, ranks 5 of 9", ["two", "three"], [0.6, 0.4], False, False),
    ("two, ranks 5 of 9, other factors", ["two", "threeGauged"], [0.6, 0.4], False, False),
    ("two, one subtracted", ["three", "two"], [1.0, -0.5], False, False),
    ("two, normalized", ["two", "three"], [3.0, 2.0], True, False),
    ("three, ranks 9 of 9", ["two", "three", "four"], [0.5, 0.3, 0.2], False, False),
    ("four, ranks 12 of 9", ["two", "three", "four", "threeMore"], [0.4, -0.3, 0.6, 0.3], False, False),
    ("four, a zero weight", ["two", "three", "four", "threeMore"], [0.4, -0.3, 0.0, 0.3], False, False),
    ("itself taken away", ["two", "twoNegated"], [0.5, 0.5], False, False),  # M = 0
    ("sum of weights zero, not normalized", ["two", "three"], [1.0, -1.0], False, False),
    ("mean, shrunk", ["near0", "near1", "near2"], [1.0, 1.0, 1.0], True, True),
    ("mean, shrunk, donors that disagree", ["two", "three", "four"], [1.0, 1.0, 1.0], True, True),
    ("weighted, shrunk", ["near0", "near1", "threeMore"], [0.5, 1.5, 1.0], True, True),
    ("identical donors", ["threeMore", "threeMore"], [1.0, 1.0], True, True),  # sigma2 = 0, rho = 1
    ("opposite donors, shrunk to nothing", ["two", "twoNegated"], [1.0, 0.5], True, True),  # tau2 = 0, rho = 0
]

cases, dense = [], {}
for name, members, weights, normalize, shrink in CASES:
    used = [w / math.fsum(weights) for w in weights] if normalize else list(weights)
    chosen = [ADAPTERS[m] for m in members]
    facts = shrinkage([product(a) for a in chosen]) if len(chosen) > 1 else None
    rho = facts["rho"] if shrink else 1.0
    M, S, truncated, tail, gap = merge(chosen, used, rho)
    dense[name] = M
    print(f"{name:40} rho {rho:.4f}  gap {gap or math.nan:.3f}  tail {tail:.3g}  sigma {np.array2string(S[:5], precision=3)}")
    cases.append({
        "name": name, "adapters": members, "weights": weights, "normalize": normalize, "usedWeights": used,
        "shrink": shrink, "shrinkage": facts, "rho": rho, "rank": KEPT,
        "dense": M.tolist(), "singularValues": S.tolist(), "truncated": truncated.tolist(),
        "discardedTail": tail, "relativeGap": gap,
    })

# Laws. `same` up to rounding.
same = lambda one, other, tolerance=1e-14: np.allclose(one, other, rtol=0, atol=tolerance)
W = {name: product(a) for name, a in ADAPTERS.items()}
by_loops = [[sum(ADAPTERS["four"]["scale"] * ADAPTERS["four"]["Bt"][k][i] * ADAPTERS["four"]["A"][k][j] for k in range(4))
             for j in range(D)] for i in range(D)]
assert same(W["four"], by_loops)
assert same(dense["one, weight 1"], W["three"])
assert same(dense["two, ranks 5 of 9"], 0.6 * W["two"] + 0.4 * W["three"])
assert same(dense["two, normalized"], dense["two, ranks 5 of 9"])
assert same(dense["two, ranks 5 of 9"], dense["two, ranks 5 of 9, other factors"], 5e-7)
assert same(dense["four, ranks 12 of 9"] - dense["four, a zero weight"], 0.6 * W["four"])
assert not dense["itself taken away"].any() and not dense["opposite donors, shrunk to nothing"].any()
rhos = {c["name"]: c["rho"] for c in cases}
assert rhos["identical donors"] == 1 and 0.5 < rhos["mean, shrunk"] < 1

fixture.write(__file__, "merging.json", {
    "source": f"NumPy {np.__version__}, Float64",
    "dimension": D,
    "formulas": {
        "dense": "M = rho * sum usedWeights_u * scale_u * Bt_u^T A_u, shape [d][d], row = output; usedWeights = weights, "
        "divided by their sum where normalize",
        "truncated": "the best approximation of M of rank `rank`; equals M where M has no greater rank",
        "discardedTail": "sqrt(sum of sigma_i^2 for i >= rank, i from 0)",
        "shrinkage": "W_u = scale_u Bt_u^T A_u, mean unweighted, C donors: sigma2 = sum |W_u - mean|^2 / (C - 1); "
        "tau2 = max(0, |mean|^2 - sigma2 / C); rho = tau2 / (tau2 + sigma2 / C); null for one donor; enters M only where shrink",
        "relativeGap": "(sigma_[rank-1] - sigma_[rank]) / sigma_0: how well the truncated matrix is determined; "
        "null where M has rank below `rank`, so that nothing is cut off",
    },
    "adapters": [{"name": name, "rank": len(a["A"]), "scale": a["scale"], "A": a["A"].tolist(), "Bt": a["Bt"].tolist()}
                 for name, a in ADAPTERS.items()],
    "cases": cases,
})
