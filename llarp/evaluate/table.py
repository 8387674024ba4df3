"""The results as one table on the terminal: splits by the paper's names, policies side by side."""

from typing import TYPE_CHECKING

from llarp.config import EnvironmentName
from llarp.evaluate.statistics import TOTAL, Score, Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from llarp.environments.base import SplitFacts

PAPER = "LLaRP"
"""The column of the paper's figures that ours stand beside."""


def percent(score: Score | None) -> str:
    """`52 (42-62)`: success in percent with its 95 % interval; a dash when there is none."""
    if score is None:
        return "-"
    return f"{_round(score.success)} ({_round(score.low)}-{_round(score.high)})"


def _round(rate: float) -> str:
    return f"{100 * rate:.0f}"


def paper_percent(group: str, environment: EnvironmentName = "rearrangement") -> float | None:
    """What the paper reports for LLaRP on a split or in total, in percent; None where it reports nothing."""
    from llarp.tasks.splits import PAPER_TOTAL

    return (PAPER_TOTAL if group == TOTAL else _splits(environment)[group].paper).get(PAPER)


def paper_text(group: str, environment: EnvironmentName = "rearrangement") -> str:
    """The paper's figure as it is printed."""
    figure = paper_percent(group, environment)
    return "-" if figure is None else f"{figure:.0f}"


def title(group: str, environment: EnvironmentName = "rearrangement") -> str:
    """Name of a split, or of the total."""
    return "Total" if group == TOTAL else _splits(environment)[group].title


def mark(group: str, environment: EnvironmentName = "rearrangement") -> str:
    """`T` for a split that counts in the total, else nothing."""
    return "T" if group != TOTAL and _splits(environment)[group].in_total else ""


def groups(summary: Summary, source: str) -> list[str]:
    """The splits that were evaluated on episodes of a source, in their order, then the total if there is one."""
    found = dict.fromkeys(s.group for s in summary.splits + summary.totals if s.source == source)
    return sorted(found, key=lambda group: order(group, summary.environment))


def order(group: str, environment: EnvironmentName = "rearrangement") -> int:
    """Place of a split among those of its environment; the total comes last."""
    splits = _splits(environment)
    return len(splits) if group == TOTAL else list(splits).index(group)


def _splits(environment: EnvironmentName) -> "Mapping[str, SplitFacts]":
    from llarp.environments.make import family

    return family(environment).splits


def summary_table(summary: Summary) -> "Table":
    """Success in percent with 95 % intervals, one row per split and source; print it with `rich`."""
    from rich import box
    from rich.table import Table

    from llarp.environments.make import family

    of = family(summary.environment)
    table = Table(
        title="Success, % (95 % interval)" + ("; Total: mean of the nine splits marked T" if of.is_in_paper() else ""),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
    )
    table.add_column("split")
    if of.is_in_paper():
        table.add_column("T")
    for policy in summary.policies:
        table.add_column(policy, justify="right", style="bold" if policy == "policy" else None, no_wrap=True)
    if of.is_in_paper():
        table.add_column("paper's LLaRP", justify="right", style="dim")
    for source in summary.sources:
        if len(summary.sources) > 1:
            table.add_row(f"[italic]{source} episodes[/italic]")
        for group in groups(summary, source):
            if group == TOTAL:
                table.add_section()
            scores = [percent(summary.find(policy, source, group)) for policy in summary.policies]
            if of.is_in_paper():
                table.add_row(title(group), mark(group), *scores, paper_text(group))
            else:
                table.add_row(title(group, of.name), *scores)
        table.add_section()
    return table
