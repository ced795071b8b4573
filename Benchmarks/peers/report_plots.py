"""The plots of the report, as SVG whose text and axes take the colour of the page around them."""

import io
import re

import matplotlib
from matplotlib import ticker
from matplotlib.figure import Figure

# Stands for the page's text colour while matplotlib draws.
TEXT = "#010203"

# A label, and a colour, a marker and a line that tell it apart: for the colour-blind, on white, on black and on paper.
# The colours are Okabe and Ito's.
SERIES = {
    "attune": ("Attune", "#d55e00", "o", "-"),
    "fused": ("fused reference", TEXT, "|", "-"),
    "limit": ("limit", TEXT, "_", "--"),
    "numpy": ("NumPy", "#0080c8", "s", "-"),
    "pytorch": ("PyTorch", "#009e73", "^", "-"),
    "pytorch-usual": ("PyTorch, usual formula", "#009e73", "<", "--"),
    "pytorch-closed-form": ("PyTorch by hand", "#009e73", "^", "-"),
    "pytorch-autograd": ("PyTorch autograd", "#009e73", "v", ":"),
    "peft": ("PEFT", "#cc79a7", "D", "-."),
}
SHAPES = [("#d55e00", "o"), ("#0080c8", "s"), ("#009e73", "^"), ("#cc79a7", "D")]

matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "attune", "font.family": "sans-serif", "font.size": 10,
    "text.color": TEXT, "axes.labelcolor": TEXT, "axes.edgecolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "legend.frameon": False,
})  # fmt: skip


def svg(figure, name):
    """The figure to put in a page: no header, text as text, ids of its own."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(TEXT, "currentColor")
    text = re.sub(r'( id="|url\(#|href="#)', rf"\1{name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{name.replace("-", " ")}"', 1)


def axes(xlabel, ylabel, height=3.7):
    figure = Figure(figsize=(5, height), layout="constrained")
    plot = figure.add_subplot()
    plot.set(xlabel=xlabel, ylabel=ylabel)
    plot.grid(color=TEXT, alpha=0.15, linewidth=0.6)
    return figure, plot


def log_ticks(axis, values=None):
    """Plain numbers along a logarithmic axis, at the values that were measured, where given."""
    if values:
        axis.set_major_locator(ticker.FixedLocator(values))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e4 else f"{value:,.0f}"))
    axis.set_minor_formatter(ticker.NullFormatter())
    if values:
        axis.set_minor_locator(ticker.NullLocator())


def legend(figure):
    figure.legend(loc="outside upper left", ncols=3, fontsize=9, handlelength=2.4, columnspacing=1.2)


def middle_shapes(cases):
    """One rank for each dimension, the middle one of those measured."""
    ranks = {}
    for row in cases:
        ranks.setdefault(row["dimension"], set()).add(row["rank"])
    return {(d, sorted(of)[len(of) // 2]) for d, of in ranks.items()}


def time_plot(cases, shapes, field, name, xlabel):
    """The time of `name` along `field`, at `shapes`, a line for each implementation; None without points."""
    figure, plot = axes(xlabel, "µs per call (minimum)")
    labels = {}
    for implementation, (label, color, marker, line) in SERIES.items():
        rows = [r for r in cases if r["implementation"] == implementation and r["name"] in (name, f"{name}-switch")]
        rows = sorted((r for r in rows if (r["dimension"], r["rank"]) in shapes), key=lambda r: r[field])
        if not rows:
            continue
        x, y = [r[field] for r in rows], [r["min_ns"] / 1000 for r in rows]
        if rows[0]["name"] != name:
            label += ", switching"
        plot.plot(x, y, color=color, marker=marker, linestyle=line, linewidth=1.8, markersize=5.5, label=label)
        labels |= {r[field]: f"{r['dimension']}/{r['rank']}" if field == "dimension" else str(r["rank"]) for r in rows}
    if not labels:
        return None
    plot.set(xscale="log", yscale="log")
    log_ticks(plot.xaxis, sorted(labels))
    plot.xaxis.set_major_formatter(ticker.FixedFormatter([labels[x] for x in sorted(labels)]))
    log_ticks(plot.yaxis)
    legend(figure)
    return svg(figure, f"{name}-time-against-{field}")


def scale_plot(rows):
    figure, plot = axes("users", "µs per update")
    shapes = sorted({(r["dimension"], r["rank"]) for r in rows})
    for number, shape in enumerate(shapes):
        color, marker = SHAPES[number % len(SHAPES)]
        points = sorted((r["users"], r["ns_per_update"] / 1000) for r in rows if (r["dimension"], r["rank"]) == shape)
        plot.plot(*zip(*points), color=color, marker=marker, linewidth=1.8, markersize=5.5, label=f"{shape[0]}/{shape[1]}")
    plot.set(xscale="log", yscale="log")
    log_ticks(plot.xaxis, sorted({r["users"] for r in rows}))
    log_ticks(plot.yaxis)
    legend(figure)
    return svg(figure, "time-against-users")


def ratio_plot(rows, goals, goal_shape, name, longest):
    """Bars from 0: Attune's time over the fused reference's, a bar for each row, and a dot at its time over the limit's. A goal
    is a line across the bar of the shape that goals are set for."""
    places, place = [], 0.0
    for previous, row in zip([None, *rows], rows):
        place += 1.0 if previous and previous["name"] == row["name"] else 2.4
        places.append(place)
    figure, plot = axes("Attune's time / reference's time", "", height=0.8 + 0.17 * place)
    for case in dict.fromkeys(r["name"] for r in rows):
        first = next(p for p, r in zip(places, rows) if r["name"] == case)
        plot.text(0, first - 0.65, case, fontsize=9.5, fontweight="bold", va="bottom")
    for p, row in zip(places, rows):
        has_goal = row["name"] in goals and (row["dimension"], row["rank"]) == goal_shape
        met = not has_goal or row["fused_ratio"] <= goals[row["name"]]
        plot.barh(p, row["fused_ratio"], height=0.84, color="#0072b2" if met else "#b34700")
        plot.text(0.02, p, f"{row['fused_ratio']:.2f}{'' if met else ' missed'}", color="white", fontsize=8, va="center_baseline")
        if has_goal:
            plot.plot([goals[row["name"]]] * 2, [p - 0.5, p + 0.5], color=TEXT, linewidth=2)
        if "limit_ratio" in row:
            plot.plot(row["limit_ratio"], p, color=TEXT, marker="o", markersize=3.5)
    plot.axvline(1, color=TEXT, linewidth=0.8, linestyle=":")
    plot.set_yticks(places, [f"{r['dimension']}/{r['rank']}" for r in rows], fontsize=8)
    plot.set(ylim=(place + 0.8, 0.4), xlim=(0, 1.05 * longest))
    plot.tick_params(axis="y", length=0)
    plot.grid(visible=False, axis="y")
    return svg(figure, name)


def ratio_plots(cases, goals, goal_shape):
    """Yields a title and SVG for each half of the cases."""
    rows = [r for r in cases if "fused_ratio" in r]
    names = [name for name in goals if any(r["name"] == name for r in rows)]
    names += sorted({r["name"] for r in rows} - set(names))
    longest = max([r["fused_ratio"] for r in rows] + [r.get("limit_ratio", 0) for r in rows] + list(goals.values()))
    middle = (len(names) + 1) // 2
    for number, half in enumerate((names[:middle], names[middle:]), 1):
        mine = sorted((r for r in rows if r["name"] in half), key=lambda r: (half.index(r["name"]), r["dimension"], r["rank"]))
        if mine:
            title = "Bars: over the fused reference; dots: over the limit; lines: goals" if number == 1 else "The same, continued"
            yield title, ratio_plot(mine, goals, goal_shape, f"ratio-to-the-references-{number}", longest)


def plots(results, goals, goal_shape):
    """Yields a title and SVG for each plot that there are measurements for."""
    cases = results["cases"]
    yield from ratio_plots(cases, goals, goal_shape)
    middle = middle_shapes(cases)
    for name in ("forward", "update-sgd"):
        drawn = time_plot(cases, middle, "dimension", name, "dimension / rank")
        if drawn:
            yield f"{name}: time against the dimension", drawn
    # The dimension of which most ranks were measured.
    ranks = {d: {(r["dimension"], r["rank"]) for r in cases if r["dimension"] == d} for d, _ in middle}
    dimension = max(ranks, key=lambda d: len(ranks[d]))
    if len(ranks[dimension]) > 1:
        for name in ("forward", "update-sgd"):
            drawn = time_plot(cases, ranks[dimension], "rank", name, f"rank, at dimension {dimension}")
            if drawn:
                yield f"{name}: time against the rank", drawn
    if results["scale"]:
        yield "Time of an update against the number of users", scale_plot(results["scale"])
