"""Plots of the report as inline SVG, with their text as text."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llarp.evaluate.statistics import Summary
from llarp.evaluate.table import groups, paper_percent, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"policy": "#2b6cb0", "blind": "#a0aec0", "random": "#ed8936", "expert": "#a3cfb1"}
_SPARE = "#805ad5"
_STYLE: dict[Any, object] = {  # keys as in matplotlibrc
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "font.family": "sans-serif",
    "font.size": 10.0,
    "xtick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": "#52606d",
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "legend.frameon": False,
}


@contextmanager
def _figure(name: str, width: float, height: float) -> Iterator["Figure"]:
    """A figure of that many inches. It never touches pyplot: no display, no global state."""
    import matplotlib
    from matplotlib.figure import Figure

    # The salt makes ids the same in every run and different between the plots of one page.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield Figure((width, height), layout="constrained")


def _svg(figure: "Figure") -> str:
    file = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=nothing)
    text = file.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue, which names a DTD


def success_bars(summary: Summary, source: str) -> str:
    """Success per split with 95 % intervals, policies side by side, the paper's LLaRP as a mark."""
    names = groups(summary, source)
    policies = summary.policies
    width = 0.8 / len(policies)
    with _figure(f"success {source}", 11, 4.2) as figure:
        axes = figure.subplots()
        for number, policy in enumerate(policies):
            found = [
                (place, score) for place, group in enumerate(names) if (score := summary.find(policy, source, group))
            ]
            axes.bar(
                [place - 0.4 + width * (number + 0.5) for place, _ in found],
                [100 * score.success for _, score in found],
                width * 0.92,
                yerr=[
                    [100 * (score.success - score.low) for _, score in found],
                    [100 * (score.high - score.success) for _, score in found],
                ],
                color=_COLOURS.get(policy, _SPARE),
                error_kw={"ecolor": "#3e4c59", "elinewidth": 1, "capsize": 1.5},
                label=policy,
            )
        paper = [paper_percent(group, summary.environment) for group in names]
        if any(figure_pct is not None for figure_pct in paper):
            axes.plot(
                [math.nan if figure_pct is None else figure_pct for figure_pct in paper],
                linestyle="none", marker="D", markersize=5, color="#1f2933", markerfacecolor="white",
                label="paper's LLaRP",
            )  # fmt: skip
        axes.set_xticks(range(len(names)), [title(group, summary.environment).replace(" ", "\n") for group in names])
        axes.set_ylim(0, 105)
        axes.set_ylabel("success, %")
        axes.margins(x=0.01)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper left", ncols=len(policies) + 1)
        return _svg(figure)


def training_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """One small plot per metric: (step, value) points."""
    columns = {1: 1, 2: 2, 4: 2}.get(len(curves), 3)
    rows = -(-len(curves) // columns)
    with _figure("training", 11 if columns > 1 else 6, 2.6 * rows) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, (name, points) in zip(panels, curves.items(), strict=False):
            axes.plot(*zip(*points, strict=True), color=_COLOURS["policy"], linewidth=1.2)
            axes.set_title(name, fontsize=10, loc="left", color="#1f2933")
        for axes in panels[len(curves) :]:
            axes.set_axis_off()
        return _svg(figure)
