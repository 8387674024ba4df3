"""The results as one table on the terminal: splits by the paper's names, policies side by side."""

from typing import TYPE_CHECKING

from llarp.evaluate.statistics import TOTAL, Score, Summary

if TYPE_CHECKING:
    from rich.table import Table

PAPER = "LLaRP"
"""The column of the paper's figures that ours stand beside."""


def percent(score: Score | None) -> str:
    """`52 (42-62)`: success in percent with its 95 % interval; a dash when there is none."""
    if score is None:
        return "-"
    return f"{_round(score.success)} ({_round(score.low)}-{_round(score.high)})"


def _round(rate: float) -> str:
    return f"{100 * rate:.0f}"


def paper_percent(group: str) -> float | None:
    """What the paper reports for LLaRP on a split or in total, in percent; None for the training episodes."""
    from llarp.tasks.splits import PAPER_TOTAL, SPLITS

    return (PAPER_TOTAL if group == TOTAL else SPLITS[group].paper).get(PAPER)


def paper_text(group: str) -> str:
    """The paper's figure as it is printed."""
    figure = paper_percent(group)
    return "-" if figure is None else f"{figure:.0f}"


def title(group: str) -> str:
    """The paper's name of a split, or of the total."""
    from llarp.tasks.splits import SPLITS

    return "Total" if group == TOTAL else SPLITS[group].title


def mark(group: str) -> str:
    """`T` for a split that counts in the total, else nothing."""
    from llarp.tasks.splits import SPLITS

    return "T" if group != TOTAL and SPLITS[group].in_total else ""


def groups(summary: Summary, source: str) -> list[str]:
    """The splits that were evaluated on episodes of a source, in the paper's order, then the total if there is one."""
    found = dict.fromkeys(s.group for s in summary.splits + summary.totals if s.source == source)
    return sorted(found, key=order)


def order(group: str) -> int:
    """Place of a split in the paper's order; the total comes last."""
    from llarp.tasks.splits import SPLITS

    return len(SPLITS) if group == TOTAL else list(SPLITS).index(group)


def summary_table(summary: Summary) -> "Table":
    """Success in percent with 95 % intervals, one row per split and source; print it with `rich`."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Success, % (95 % interval); Total: mean of the nine splits marked T",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
    )
    table.add_column("split")
    table.add_column("T")
    for policy in summary.policies:
        table.add_column(policy, justify="right", style="bold" if policy == "policy" else None, no_wrap=True)
    table.add_column("paper's LLaRP", justify="right", style="dim")
    for source in summary.sources:
        if len(summary.sources) > 1:
            table.add_row(f"[italic]{source} episodes[/italic]")
        for group in groups(summary, source):
            if group == TOTAL:
                table.add_section()
            scores = [percent(summary.find(policy, source, group)) for policy in summary.policies]
            table.add_row(title(group), mark(group), *scores, paper_text(group))
        table.add_section()
    return table
