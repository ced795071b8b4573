"""One HTML page of the results of `compare`: no network, light and dark, for a telephone, a screen and paper."""

import html

import report_plots

# Attune's time over that of the fused reference, at the shape that the goals are set for. A stream of updates over many
# adapters is limited by memory: there the goal is three quarters of the rate.
GOAL_SHAPE = (384, 8)
GOALS = {
    "update-sgd": 1.3,
    "forward": 1.3,
    "forward-mixed-64": 1.4,
    "update-batch-32": 1.4,
    "update-adam": 1.4,
    "update-ewc": 1.4,
    "update-riemannian": 1.5,
    "update-stream": 1 / 0.75,
}

MEANINGS = {
    "forward": "personalizes one embedding",
    "update-sgd": "one SGD update of one user by one target: forward pass, gradients, a clip for each matrix, step",
    "update-adam": "the same with Adam",
    "update-ewc": "the same with SGD and the penalty against forgetting",
    "update-riemannian": "the same with preconditioned SGD",
    "update-batch-32": "one SGD update of one user by the mean loss of 32 targets",
    "forward-mixed-64": "personalizes 64 embeddings in one call, each of another user",
    "update-stream": "one SGD update of the next user of many, whose adapters don't fit in the cache",
}

# Columns of the tables: a heading and the implementations that it stands for, of which a case has at most one.
PEERS = [
    ("NumPy", ["numpy"]),
    ("PyTorch", ["pytorch", "pytorch-closed-form"]),
    ("PyTorch, usual formula", ["pytorch-usual"]),
    ("PyTorch autograd", ["pytorch-autograd"]),
    ("PEFT", ["peft"]),
]

STYLE = """
:root { color-scheme: light dark; --text: #1a1d21; --soft: #5a626c; --line: #d5d9de; --page: #ffffff; --bad: #a8321a; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7eb; --soft: #a3abb5; --line: #3a4048; --page: #16181d; --bad: #ff9479; }
}
@media print {
  :root { color-scheme: light; --text: #000; --soft: #444; --line: #bbb; --page: #fff; --bad: #a8321a; }
  body { font-size: 12px; padding: 0; }
  table { font-size: 9.5px; }
  h2 { break-after: avoid; }
  section { break-inside: avoid; }
  .plots { grid-template-columns: 1fr 1fr !important; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 16px; max-width: 1280px; color: var(--text); background: var(--page);
       font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.6em; margin: 0.3em 0; }
h2 { font-size: 1.25em; margin: 1.8em 0 0.4em; }
h3 { font-size: 1em; margin: 1.4em 0 0; }
p { margin: 0.3em 0 0.8em; max-width: 75ch; }
.soft, caption { color: var(--soft); }
code { font-size: 0.92em; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.92em; }
caption { text-align: left; padding: 0 0 4px; }
th, td { text-align: right; padding: 3px 6px; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
th.word, td.word { text-align: left; }
.missed { color: var(--bad); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px 32px; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 600; margin-bottom: 4px; }
svg { display: block; width: 100%; height: auto; max-width: 640px; }
tr { break-inside: avoid; }
@media screen and (max-width: 960px) {
  thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  table, caption, tbody { display: block; }
  tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); column-gap: 20px; padding: 6px 0;
       border-bottom: 1px solid var(--line); }
  td { display: flex; justify-content: space-between; gap: 8px; border: 0; padding: 1px 0; white-space: normal; }
  td span { white-space: nowrap; }
  td::before { content: attr(data-label); color: var(--soft); text-align: left; font-weight: 400; }
  td.first::before { content: none; }
  td.first { grid-column: 1 / -1; justify-content: flex-start; font-weight: 600; }
  td.rate { grid-column: span 2; }
  td.empty { display: none; }
  dl { grid-template-columns: minmax(0, 11em) 1fr; }
}
"""


def microseconds(nanoseconds):
    value = nanoseconds / 1000
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def times(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def percent(value, limit):
    return f" ({100 * value / limit:.0f} %)" if limit else ""


def table(caption, headings, rows, words=1):
    """A table whose first `words` columns are words. A cell is text, or text and a class, or None where nothing is."""
    head = "".join(f'<th scope="col"{" class=word" if i < words else ""}>{html.escape(h)}</th>' for i, h in enumerate(headings))
    body = ""
    for row in rows:
        body += "<tr>"
        for i, (heading, cell) in enumerate(zip(headings, row, strict=True)):
            text, extra = cell if isinstance(cell, tuple) else (cell, "")
            classes = ["word"] * (i < words) + ["first"] * (i == 0) + [extra] + ["empty"] * (not text)
            label = "" if i == 0 else f' data-label="{html.escape(heading)}"'
            body += f'<td class="{" ".join(filter(None, classes))}"{label}><span>{html.escape(text or "")}</span></td>'
        body += "</tr>\n"
    return f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def case_table(name, results):
    """Attune at one case: a row for each shape."""
    machine, goal = results["machine"], GOALS.get(name)
    peaks = machine.get("triad_gigabytes_per_second"), machine.get("peak_gigaflop_per_second")
    rows, present = [], set()
    attune = [r for r in results["cases"] if r["name"] == name and r["implementation"] == "attune"]
    for row in sorted(attune, key=lambda r: (r["dimension"], r["rank"])):
        where = row["dimension"], row["rank"], row["threads"]
        others = [r for r in results["cases"] if (r["dimension"], r["rank"], r["threads"]) == where]
        cells = [f"{where[0]}/{where[1]}", microseconds(row["min_ns"]), microseconds(row["median_ns"])]
        for reference in ("fused", "limit"):
            times_of = next((r for r in others if r["name"] == name and r["implementation"] == reference), None)
            ratio = row.get(f"{reference}_ratio")
            missed = reference == "fused" and ratio is not None and where[:2] == GOAL_SHAPE and goal is not None and ratio > goal
            cells.append(microseconds(times_of["min_ns"]) if times_of else None)
            cells.append((f"{ratio:.2f}{' missed' if missed else ''}" if ratio else None, "missed" if missed else ""))
        for heading, implementations in PEERS:
            peer = next((r for r in others if r["implementation"] in implementations and same_work(r, name)), None)
            cells.append(times(peer["times_attune"]) if peer else None)
            if peer:
                present.add(heading)
        for rate, peak in zip(("gigabytes_per_second", "gigaflop_per_second"), peaks):
            value = row.get(rate)
            cells.append((None if value is None else f"{value:.1f}{percent(value, peak)}", "rate"))
        allocations, share = row.get("allocations"), row.get("cpu_share")
        cells += [None if allocations is None else str(allocations), None if share is None else f"{share:.2f}"]
        rows.append(cells)
    headings = ["d/r", "min µs", "median µs", "fused µs", "/ fused", "limit µs", "/ limit"]
    headings += [f"× {heading}" for heading, _ in PEERS]
    headings += ["GB/s (of triad)", "GFLOP/s (of peak)", "allocations", "CPU share"]
    absent = {f"× {heading}" for heading, _ in PEERS} - {f"× {heading}" for heading in present}
    kept = [i for i, heading in enumerate(headings) if heading not in absent]
    caption = MEANINGS.get(name, "") + (f"; goal: at most {goal:.2f} times the fused reference at {GOAL_SHAPE[0]}/{GOAL_SHAPE[1]}" if goal else "")
    kept_rows = [[row[i] for i in kept] for row in rows]
    return f"<section><h3>{html.escape(name)}</h3>\n{table(caption, [headings[i] for i in kept], kept_rows)}</section>\n"


def goal_ratios(results, reference="fused"):
    """For each case with a goal, its ratio to a reference at the shape of the goals, or None."""
    for name, goal in GOALS.items():
        ratios = [
            row[f"{reference}_ratio"] for row in results["cases"]
            if row["name"] == name and (row["dimension"], row["rank"]) == GOAL_SHAPE and f"{reference}_ratio" in row
        ]
        yield name, goal, max(ratios, default=None)


def goal_table(results):
    rows = []
    for (name, goal, ratio), (_, _, to_limit) in zip(goal_ratios(results), goal_ratios(results, "limit"), strict=True):
        said = "not measured" if ratio is None else "met" if ratio <= goal else "missed"
        cells = [name, f"{goal:.2f}", *(None if r is None else f"{r:.2f}" for r in (ratio, to_limit))]
        rows.append([*cells, (said, "missed" if said == "missed" else "")])
    caption = f"Attune's time over the fused reference's, which goals are set against, and the limit's, at {GOAL_SHAPE[0]}/{GOAL_SHAPE[1]}."
    return table(caption, ["case", "goal", "/ fused", "/ limit", "result"], rows)


def other_goals(results):
    """What is aimed at beside the references: a text, the goal, what was measured, and whether that is enough; None where it was
    not measured."""
    d, r = GOAL_SHAPE
    cases = {(c["name"], c["implementation"]): c for c in results["cases"] if (c["dimension"], c["rank"]) == GOAL_SHAPE}

    def case(name, field, implementation="attune"):
        return cases.get((name, implementation), {}).get(field)

    def shown(value, unit):
        return None if value is None else f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}".strip()

    def least(text, goal, value, unit="×"):
        return text, f"at least {shown(goal, unit)}", shown(value, unit), None if value is None else value >= goal

    def most(text, goal, value, unit):
        return text, f"at most {shown(goal, unit)}", shown(value, unit), None if value is None else value <= goal

    def difference(more, less):
        return None if more is None or less is None else more - less

    def scale(dimension, users, field):
        rows = [s for s in results["scale"] if s["dimension"] == dimension and (users is None or s["users"] == users)]
        return [s[field] for s in rows if s.get(field) is not None]

    for text, goal, name, peer in [
        ("SGD update, PyTorch autograd over Attune", 500, "update-sgd", "pytorch-autograd"),
        ("forward, PyTorch as usually written over Attune", 60, "forward", "pytorch-usual"),
        ("forward, PyTorch's fastest form over Attune", 60, "forward", "pytorch"),
        ("64 users in one call, PEFT over Attune", 100, "forward-mixed-64", "peft"),
        ("batch of 32, PyTorch autograd over Attune", 20, "update-batch-32", "pytorch-autograd"),
    ]:  # fmt: skip
        yield least(text, goal, case(name, "times_attune", peer))
    bare, engine = case("update-sgd", "min_ns"), case("update-sgd-engine", "min_ns")
    yield most("SGD update through the engine over the kernels alone", 2.5, engine / bare if engine and bare else None, "×")
    yield most("the same, beyond the kernels", 1000, difference(engine, bare), "ns")
    read = difference(case("forward-engine", "min_ns"), case("forward", "min_ns"))
    yield most("read by handle, beyond the kernel", 300, read, "ns")
    by_id, alone = (scale(64, 1_000_000, f"ns_per_{name}") for name in ("read_by_id", "bare_read"))
    cold = by_id[0] - alone[0] if by_id and alone else None
    yield most("read by id among 10⁶ users at 64/4, beyond the bare read", 600, cold, "ns")
    for dimension, rank, goal in ((64, 4, 1.8), (d, r, 1.6)):
        speedups = scale(dimension, None, "two_thread_speedup")
        yield least(f"two threads at {dimension}/{rank}, the least of all numbers of users", goal, min(speedups, default=None))
    for dimension, rank in ((64, 4), GOAL_SHAPE):
        used, floats = (scale(dimension, 100_000, field) for field in ("bytes_per_user", "float_bytes"))
        if used and floats:
            yield most(f"bytes a user at {dimension}/{rank}, 100,000 users", 1.05 * floats[0] + 256, used[0], "bytes")
    attune = [c for c in results["cases"] if c["implementation"] == "attune"]
    allocations = [c["allocations"] for c in attune if c.get("allocations") is not None]
    yield most("allocations of a call, the most of all cases", 0, max(allocations, default=None), "")
    yield most("start of a process to its first embedding, median", 50, results.get("start", {}).get("median_ms"), "ms")


def other_goal_table(results):
    rows = []
    for text, goal, value, met in other_goals(results):
        said = "not measured" if met is None else "met" if met else "missed"
        rows.append([text, goal, value, (said, "missed" if said == "missed" else "")])
    return table("Beside peers, through the engine, with many users.", ["what", "goal", "measured", "result"], rows)


def same_work(row, name):
    """Whether a peer's row was compared with Attune's case `name`."""
    return "times_attune" in row and (row["name"] == name or row["name"] == f"{name}-switch")


def all_cases(results):
    headings = ["case", "implementation", "d/r", "min µs", "median µs", "chunks", "calls each", "CPU share"]
    rows = []
    for row in sorted(results["cases"], key=lambda r: (r["name"], r["dimension"], r["rank"], r["min_ns"])):
        cells = [row["name"], row["implementation"], f"{row['dimension']}/{row['rank']}"]
        cells += [microseconds(row["min_ns"]), microseconds(row["median_ns"])]
        cells += [str(row[field]) if field in row else None for field in ("chunks", "calls_per_chunk")]
        rows.append(cells + [f"{row['cpu_share']:.2f}" if "cpu_share" in row else None])
    return table("Times of one whole call; a batch is one call.", headings, rows, words=2)


def scale_table(results):
    headings = [
        "d/r", "users", "updates per second", "µs per update", "two threads", "µs per read by handle", "by id", "by the limit",
        "bytes per user", "resident MB",
    ]  # fmt: skip
    rows = []
    for row in results["scale"]:
        resident = row.get("resident_bytes")
        rows.append([
            f"{row['dimension']}/{row['rank']}", f"{row['users']:,}", f"{row['updates_per_second']:,.0f}",
            microseconds(row["ns_per_update"]),
            f"{row['two_thread_speedup']:.2f} ×" if "two_thread_speedup" in row else None,
            *(microseconds(row[f"ns_per_{name}"]) if f"ns_per_{name}" in row else None
              for name in ("read_by_handle", "read_by_id", "bare_read")),
            f"{row['bytes_per_user']:,.0f}" if "bytes_per_user" in row else None,
            f"{resident / 1e6:,.0f}" if resident is not None else None,
        ])  # fmt: skip
    return table("Updates of users in turn, each with an adapter of its own.", headings, rows)


def facts(results):
    values = results["run"] | results["machine"] | results["versions"]
    items = ""
    for name, value in values.items():
        if value is None:
            continue
        text = f"{value:.1f}" if isinstance(value, float) else str(value)
        text = f"<code>{html.escape(text)}</code>" if name == "command" else html.escape(text)
        label = name.replace("gigabytes_per_second", "GB/s").replace("gigaflop_per_second", "GFLOP/s").replace("_", " ")
        items += f"<dt>{html.escape(label)}</dt><dd>{text}</dd>\n"
    return f"<dl>\n{items}</dl>"


def page(results):
    attune = [row["name"] for row in results["cases"] if row["implementation"] == "attune"]
    names = sorted(set(attune), key=lambda name: (list(MEANINGS).index(name) if name in MEANINGS else len(MEANINGS), name))
    plots = "".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}</figure>\n"
        for title, svg in report_plots.plots(results, GOALS, GOAL_SHAPE)
    )
    quick = "<p class=missed>A quick run: it shows that all runs and is right; its times are worthless.</p>"
    warning = quick if results["run"]["effort"] == "quick" else ""
    scale = scale_table(results) if results["scale"] else "<p>Not measured in this run.</p>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attune's speed</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Attune's speed</h1>
<p>Against the same work in C, and against NumPy, PyTorch and PEFT: one thread, one core, Float32, random inputs that change
from call to call. Ratios are of minima within this run. The fused reference is each step as directly as its formulas are
written, in few passes over AVX-512 vectors; the limit is the least time that was found, with estimated square roots and other
means that Attune's promise of equal bytes everywhere does not allow.</p>
{warning}
<h2>Machine and run</h2>
{facts(results)}
<h2>Goals</h2>
{goal_table(results)}
{other_goal_table(results)}
<h2>Plots</h2>
<div class="plots">
{plots}</div>
<h2>Cases</h2>
<p>d/r is dimension/rank. “/ fused” is Attune's time over the fused reference's, “× NumPy” how many times as long NumPy takes. PyTorch
without autograd is by hand, in the fewest operations found. PEFT's passes include the product with its layer's d × d
weight; base-linear-64 below is that product alone. At update-sgd PEFT first switches to the user's adapter. Rates are
Attune's, from the bytes and operations that the work needs; they exceed the memory's where an adapter stays in the cache.</p>
{"".join(case_table(name, results) for name in names)}
<h2>Many users</h2>
{scale}
<h2>All measurements</h2>
{all_cases(results)}
</body>
</html>
"""
