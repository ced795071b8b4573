"""objectives.json: loss and gradients of every objective by PyTorch autograd, Float64.

    y = x + s * Bt^T (A x) + b          A [r,d], Bt [r,d], b [d], r = 3, d = 7; optionally y <- y / |y|, trained through

Every number that goes in is first rounded to Float32, so that Float32 code starts from the same inputs; it is written to the
file in full. Every gradient is checked by central differences and by the closed forms of the rank-one update.
"""

import math

import numpy as np
import torch

import fixture

torch.set_num_threads(1)

R, D, ALPHA = 3, 7, 2.0
SCALES = {"alpha/r": ALPHA / R, "alpha/sqrt(r)": ALPHA / math.sqrt(R)}
GLOBAL_CLIP, MATRIX_CLIP = 0.3, 0.5


def single(value):
    return float(np.float32(value))


def vector(seed, amplitude=0.6, count=D):
    """amplitude * sin(seed + 1.1 j + 0.37 j^2), rounded to Float32."""
    return [single(amplitude * math.sin(seed + 1.1 * j + 0.37 * j * j)) for j in range(count)]


def matrix(seed, amplitude):
    flat = vector(seed, amplitude, R * D)
    return [flat[k * D : (k + 1) * D] for k in range(R)]


ADAPTER = {"A": matrix(1.0, 0.5), "Bt": matrix(2.0, 0.5), "b": vector(3.0, 0.1)}


# Samples. Each is data only; `loss` below gives it its meaning.

def candidate(seed, offset=0.0, amplitude=0.6):
    return {"vector": vector(seed, amplitude), "offset": single(offset)}


def target():
    return {"objective": "target", "x": vector(10.0), "target": vector(11.0)}


def preference(negatives, offsets):
    return {"objective": "preference", "x": vector(20.0),
            "positive": candidate(21.0, 0.25 if offsets else 0.0),
            "negatives": [candidate(22.0 + 1.3 * n, 0.1 * n - 0.2 if offsets else 0.0) for n in range(negatives)]}


def ranking(negatives, temperature, offsets, amplitude=0.6):
    return {"objective": "ranking", "x": vector(30.0), "temperature": single(temperature),
            "positive": candidate(31.0, -0.15 if offsets else 0.0, amplitude),
            "negatives": [candidate(32.0 + 1.7 * n, 0.05 * n - 0.1 if offsets else 0.0, amplitude)
                          for n in range(negatives)]}


def reward(rho, baseline=0.0, amplitude=0.6):
    return {"objective": "reward", "x": vector(40.0), "item": vector(41.0, amplitude),
            "reward": single(rho), "baseline": single(baseline)}


def watch(completion, rating, rewatch, neutral):
    return {"objective": "watch", "x": vector(50.0), "item": vector(51.0), "completion": single(completion),
            "rating": single(rating), "rewatch": single(rewatch), "neutral": single(neutral)}


def scaled_input(rho):
    return {"objective": "scaledInput", "x": vector(60.0), "reward": single(rho)}


SAMPLES = {
    "target": target(),
    "preference of 1": preference(1, offsets=False),
    "preference of 4": preference(4, offsets=False),
    "preference of 4, offsets": preference(4, offsets=True),
    "ranking of 1, temperature 1": ranking(1, 1.0, offsets=False),
    "ranking of 5, temperature 1": ranking(5, 1.0, offsets=False),
    "ranking of 5": ranking(5, 0.2, offsets=False),
    "ranking of 5, offsets": ranking(5, 0.2, offsets=True),
    "ranking, saturated": ranking(3, 0.01, offsets=False, amplitude=3.0),
    "reward 1": reward(1.0),
    "reward 0.4": reward(0.4),
    "reward -0.7": reward(-0.7),
    "reward 0.4, baseline 0.1": reward(0.4, 0.1),
    "reward 0.2, baseline 0.5": reward(0.2, 0.5),  # less than expected: pushes away
    "reward -0.9, baseline 0.5": reward(-0.9, 0.5),  # clamped at -1
    "reward 0.25, baseline 0.25": reward(0.25, 0.25),  # zero weight: loss and gradient are 0
    "reward 1, saturated": reward(1.0, amplitude=400.0),
    "reward -1, saturated": reward(-1.0, amplitude=400.0),
    "watch, above neutral": watch(0.9, 4.0, 0.0, 0.5),
    "watch, below neutral": watch(0.2, 1.0, 0.0, 0.5),
    "watch, neutral 0.3": watch(0.6, 2.0, 1.0, 0.3),
    "watch, below neutral 0.3": watch(0.1, 0.0, 0.0, 0.3),
    "watch, at neutral": watch(1.0, 0.0, 0.0, 0.5),  # zero weight
    "watch, full score": watch(1.0, 5.0, 1.0, 0.5),
    "watch, capped": watch(1.0, 5.0, 2.0, 0.5),  # 1.2 before the cap
    "scaled input 0.8": scaled_input(0.8),
    "scaled input -0.5": scaled_input(-0.5),
}


# The loss of a sample, given y, on torch tensors.

def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


def softplus(z):
    """log(1 + exp(z)), exact for large z; torch's own softplus turns linear at 20."""
    return torch.logaddexp(z, torch.zeros_like(z))


def watch_reward(s):
    score = min(1.0, s["completion"] * 0.5 + s["rating"] / 5 * 0.3 + s["rewatch"] * 0.2)
    neutral = s["neutral"]
    return (score - neutral) / (1 - neutral) if score >= neutral else (score - neutral) / neutral


def effective_reward(s):
    if s["objective"] == "watch":
        return watch_reward(s)
    return min(1.0, max(-1.0, s["reward"] - s["baseline"]))


def loss(s, y):
    kind = s["objective"]
    if kind in ("target", "scaledInput"):
        goal = tensor(s["target"]) if kind == "target" else s["reward"] * tensor(s["x"])
        return ((y - goal) ** 2).sum() / D
    if kind in ("preference", "ranking"):
        score = lambda c: y @ tensor(c["vector"]) + c["offset"]
        positive, negatives = score(s["positive"]), torch.stack([score(c) for c in s["negatives"]])
        if kind == "preference":
            return softplus(negatives - positive).mean()
        logits = torch.cat([positive[None], negatives]) / s["temperature"]
        return torch.logsumexp(logits, 0) - logits[0]
    rho = effective_reward(s)
    sign = (rho > 0) - (rho < 0)
    return abs(rho) * softplus(-sign * (y @ tensor(s["item"])))


FORMULAS = {
    "forward": "h = A x; z = x + s * Bt^T h + b; y = normalize ? z / |z| : z",
    "target": "(1/d) |y - target|^2",
    "scaledInput": "(1/d) |y - reward * x|^2",
    "preference": "mean over negatives n of log(1 + exp(-(y.p - y.n + offset_p - offset_n)))",
    "ranking": "-log softmax of the positive, logits (y.v + offset_v) / temperature over the positive and the negatives",
    "reward": "rho = clamp(reward - baseline, -1, 1); abs(rho) * log(1 + exp(-sign(rho) * y.item)); 0 where rho is 0",
    "watch": "score = min(1, completion * 0.5 + rating / 5 * 0.3 + rewatch * 0.2); rho = score >= neutral ? "
    "(score - neutral) / (1 - neutral) : (score - neutral) / neutral; then as reward with baseline 0",
    "batch": "loss = sum(w l) / sum(w), gradient = sum(w g) / sum(w), clipped once afterwards",
    "gradient.b": "equals e = dLoss/dz; present only where the adapter has a bias",
    "clip.global": "factor = min(1, threshold / norm), norm over A, Bt and b (if any) together; 1 where norm is 0",
    "clip.perMatrix": "the same for A, Bt and b each on its own",
}


# Forward, backward, clipping.

def forward(parameters, x, scale, normalize):
    z = x + scale * (parameters["Bt"].T @ (parameters["A"] @ x))
    if "b" in parameters:
        z = z + parameters["b"]
    return z / torch.linalg.vector_norm(z) if normalize else z


def total_loss(parameters, samples, weights, scale, normalize):
    terms = [w * loss(s, forward(parameters, tensor(s["x"]), scale, normalize)) for s, w in zip(samples, weights)]
    return torch.stack(terms).sum() / sum(weights)


def norm(tensors):
    return math.sqrt(math.fsum(float(v) ** 2 for t in tensors for v in t.reshape(-1)))


def clip_factor(value, threshold):
    return min(1.0, threshold / value) if value > 0 else 1.0


def lists(tensors):
    return {name: (value + 0.0).tolist() for name, value in tensors.items()}  # + 0.0 turns -0.0 into 0.0


def evaluate(samples, weights, scale, normalize, bias):
    parameters = {name: tensor(value).requires_grad_() for name, value in ADAPTER.items() if bias or name != "b"}
    value = total_loss(parameters, samples, weights, scale, normalize)
    names = list(parameters)
    gradient = dict(zip(names, torch.autograd.grad(value, [parameters[n] for n in names])))
    check_differences(parameters, samples, weights, scale, normalize, gradient)
    if len(samples) == 1:
        check_closed_form(samples[0], scale, normalize, parameters, gradient)
    expected = sum(w * loss_by_hand(s, scale, normalize, bias) for s, w in zip(samples, weights)) / sum(weights)
    assert abs(value.item() - expected) < 1e-14 * max(1, expected), (samples[0]["objective"], value.item(), expected)

    outputs = [forward(parameters, tensor(s["x"]), scale, normalize).tolist() for s in samples]
    norms = {name: norm([gradient[name]]) for name in names}
    whole = norm(gradient.values())
    factor = clip_factor(whole, GLOBAL_CLIP)
    factors = {name: clip_factor(norms[name], MATRIX_CLIP) for name in names}
    return {
        "outputs": outputs,
        "loss": value.item(),
        "gradient": lists(gradient),
        "norms": {**norms, "global": whole},
        "globalClip": {"factor": factor, "gradient": lists({n: factor * gradient[n] for n in names})},
        "perMatrixClip": {"factors": factors, "gradient": lists({n: factors[n] * gradient[n] for n in names})},
    }


# Checks.

def loss_by_hand(s, scale, normalize, bias):
    """The loss once more, in plain Python, as the formulas read."""
    A, Bt, b, x = ADAPTER["A"], ADAPTER["Bt"], ADAPTER["b"], s["x"]
    dot = lambda u, v: math.fsum(p * q for p, q in zip(u, v))
    h = [dot(A[k], x) for k in range(R)]
    y = [x[j] + scale * sum(Bt[k][j] * h[k] for k in range(R)) + (b[j] if bias else 0.0) for j in range(D)]
    if normalize:
        length = math.sqrt(dot(y, y))
        y = [value / length for value in y]

    def logistic(margin):  # log(1 + exp(-margin))
        return math.log1p(math.exp(-margin)) if margin > 0 else math.log1p(math.exp(margin)) - margin

    match s["objective"]:
        case "target":
            return sum((p - q) ** 2 for p, q in zip(y, s["target"])) / D
        case "scaledInput":
            return sum((p - s["reward"] * q) ** 2 for p, q in zip(y, x)) / D
        case "preference":
            p = s["positive"]
            margins = [dot(y, p["vector"]) - dot(y, n["vector"]) + p["offset"] - n["offset"] for n in s["negatives"]]
            return sum(map(logistic, margins)) / len(margins)
        case "ranking":
            logits = [(dot(y, c["vector"]) + c["offset"]) / s["temperature"] for c in [s["positive"], *s["negatives"]]]
            top = max(logits)
            return top + math.log(sum(math.exp(v - top) for v in logits)) - logits[0]
        case "watch":
            score = min(1.0, 0.5 * s["completion"] + 0.3 * s["rating"] / 5 + 0.2 * s["rewatch"])
            above = score - s["neutral"]
            rho = above / (1 - s["neutral"]) if above > 0 else above / s["neutral"]
        case "reward":
            rho = sorted((-1.0, s["reward"] - s["baseline"], 1.0))[1]
    score = dot(y, s["item"])
    return abs(rho) * logistic(score if rho > 0 else -score)


worst = {"difference": 0.0, "closed form": 0.0}


def check_differences(parameters, samples, weights, scale, normalize, gradient):
    """Fourth-order central differences of the loss, entry by entry."""
    plain = {name: value.detach().clone() for name, value in parameters.items()}
    size = max(1.0, norm(gradient.values()))
    h = 2e-4 / max(1.0, max(abs(v) for s in samples for v in s.get("item", [0])) / 20)  # saturated items curve sharply
    with torch.no_grad():
        for name, value in plain.items():
            flat, wanted = value.view(-1), gradient[name].reshape(-1)
            for i in range(flat.numel()):
                kept = flat[i].item()

                def at(offset):
                    flat[i] = kept + offset
                    result = float(total_loss(plain, samples, weights, scale, normalize))
                    flat[i] = kept
                    return result

                slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
                error = abs(slope - float(wanted[i])) / size
                worst["difference"] = max(worst["difference"], error)
                assert error < 2e-8, (samples[0]["objective"], name, i, slope, float(wanted[i]))


def check_closed_form(sample, scale, normalize, parameters, gradient):
    """With e = dLoss/dz: dB = s e h^T, dA = s (B^T e) x^T, db = e."""
    with torch.no_grad():
        x, A, Bt = tensor(sample["x"]), parameters["A"].detach(), parameters["Bt"].detach()
        h = A @ x
        z = x + scale * (Bt.T @ h) + (parameters["b"] if "b" in parameters else 0)
    z.requires_grad_()
    y = z / torch.linalg.vector_norm(z) if normalize else z
    (e,) = torch.autograd.grad(loss(sample, y), z)
    expected = {"A": scale * torch.outer(Bt @ e, x), "Bt": scale * torch.outer(h, e), "b": e}
    for name, value in gradient.items():
        error = float((value - expected[name]).abs().max()) / max(1.0, float(e.abs().max()))
        worst["closed form"] = max(worst["closed form"], error)
        assert error < 1e-13, (sample["objective"], name, error)


# Cases: every sample and one batch, with and without normalising, at alpha / r; one sample of each objective and the batch
# also at alpha / sqrt(r); some without a bias.

BATCH = {"samples": ["target", "ranking of 5, offsets", "reward -0.7"], "weights": [1.0, 0.5, 2.0]}
WITHOUT_BIAS = ["target", "preference of 4, offsets", "ranking of 5, offsets", "reward -0.7"]
AT_SQUARE_ROOT = WITHOUT_BIAS + ["watch, below neutral", "scaled input 0.8"]

cases = []


def add(names, weights, scale_name, normalize, bias):
    result = evaluate([SAMPLES[n] for n in names], weights, SCALES[scale_name], normalize, bias)
    cases.append({
        "name": f"{' + '.join(names)}; {scale_name}{'; normalized' if normalize else ''}{'' if bias else '; no bias'}",
        "samples": names, "weights": weights, "scaleRule": scale_name, "scale": SCALES[scale_name],
        "normalize": normalize, "bias": bias, **result})


for scale_name in SCALES:
    for normalize in (False, True):
        for name in SAMPLES if scale_name == "alpha/r" else AT_SQUARE_ROOT:
            add([name], [1.0], scale_name, normalize, bias=True)
        add(BATCH["samples"], BATCH["weights"], scale_name, normalize, bias=True)
for normalize in (False, True):
    for name in WITHOUT_BIAS:
        add([name], [1.0], "alpha/r", normalize, bias=False)

for case in cases:
    assert case["globalClip"]["factor"] <= 1
for batch in (c for c in cases if len(c["samples"]) > 1):  # the batch is the weighted mean of its members
    members = [next(c for c in cases if c["samples"] == [n] and c["scale"] == batch["scale"] and c["bias"]
                    and c["normalize"] == batch["normalize"]) for n in batch["samples"]]
    for key in ("A", "Bt", "b"):
        mean = sum(w * np.array(m["gradient"][key]) for w, m in zip(batch["weights"], members)) / sum(batch["weights"])
        assert np.allclose(mean, batch["gradient"][key], rtol=0, atol=1e-15)
assert len({c["globalClip"]["factor"] < 1 for c in cases}) == 2  # clipped and unclipped ones both occur
assert len({f < 1 for c in cases for f in c["perMatrixClip"]["factors"].values()}) == 2
print(len(cases), "cases; worst errors", worst)

fixture.write(__file__, "objectives.json", {
    "source": f"torch.autograd, PyTorch {torch.__version__.split('+')[0]}, Float64",
    "rank": R, "dimension": D, "alpha": ALPHA,
    "inputFormula": "amplitude * sin(seed + 1.1 j + 0.37 j^2), rounded to Float32; the values here are what counts",
    "formulas": FORMULAS,
    "globalClipThreshold": GLOBAL_CLIP, "perMatrixClipThreshold": MATRIX_CLIP,
    "adapter": ADAPTER,
    "samples": [{"name": name, **({"rho": effective_reward(s)} if s["objective"] in ("reward", "watch") else {}), **s}
                for name, s in SAMPLES.items()],
    "cases": cases,
})
