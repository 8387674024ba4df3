"""The report: one HTML file that needs nothing else, to be read on a screen or on paper."""

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from llarp.config import EnvironmentName
from llarp.environments.make import family
from llarp.evaluate import plots, table
from llarp.evaluate.film import Strip
from llarp.evaluate.statistics import TOTAL, Score, Summary
from llarp.files import file_aside


def write_report(
    path: str | Path,
    summary: Summary,
    films: Sequence[Strip] = (),
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    probe: Sequence[Mapping[str, object]] = (),
    provenance: Mapping[str, object] | None = None,
    title: str = "Evaluation of the policy",
) -> None:
    """Writes the report, whole or not at all.

    Args:
        path: the HTML file.
        summary: all scores; its first policy is the one that the report is about.
        films: strips to embed.
        curves: metric to its (step, value) points.
        probe: lines of the visual probe's table, all with the same keys.
        provenance: parameters, commit, hashes, model; nested mappings are spread out with dots.
        title: heading.

    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        title=title,
        family=family(summary.environment),
        num_rows=sum(score.episodes for score in summary.splits),
        summary=summary,
        policies=summary.policies,
        sources=summary.sources,
        cards=_cards(summary),
        success=_success(summary),
        bars=[_bars(summary, source) for source in summary.sources],
        families=_by_group(summary.families),
        tags=_by_group(summary.tags),
        curves=_safe(plots.training_curves(curves)) if curves else None,
        probe=list(probe),
        films=_films(films, summary.environment),
        provenance=_spread(provenance or {}),
    )
    with file_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")


def _safe(svg: str) -> object:
    """Marks our own drawing as markup; everything else is escaped."""
    from markupsafe import Markup

    return Markup(svg)


def _cards(summary: Summary) -> list[dict[str, object]]:
    """The figures to see first: what the policy reaches on known tasks and in total, and what chance reaches."""
    wanted = (
        ("policy", "train_validation", "success on unseen episodes of the training distribution"),
        ("random", "train_validation", "a random policy on the same episodes"),
        ("policy", "new_scenes", "success where it has never been"),
        ("policy", TOTAL, "the paper's Total, nine splits of generalisation"),
    )
    return [
        {"score": score, "text": text}
        for policy, group, text in wanted
        if (score := summary.find(policy, "generated", group))
    ]


def _success(summary: Summary) -> list[dict[str, object]]:
    of = summary.environment
    found = {group for source in summary.sources for group in table.groups(summary, source)}
    return [
        {
            "group": group,
            "title": table.title(group, of),
            "mark": table.mark(group, of),
            "paper": table.paper_text(group, of),
            "is_total": group == TOTAL,
        }
        for group in sorted(found, key=lambda group: table.order(group, of))
    ]


def _bars(summary: Summary, source: str) -> dict[str, object]:
    caption = f"Success on {source} episodes with 95 % intervals"
    caption += "; diamonds: LLaRP in the paper." if family(summary.environment).is_in_paper() else "."
    return {"svg": _safe(plots.success_bars(summary, source)), "caption": caption}


def _by_group(scores: Sequence[Score]) -> dict[str, dict[tuple[str, str], Score]]:
    """Scores by group in words, then by source and policy."""
    groups: dict[str, dict[tuple[str, str], Score]] = defaultdict(dict)
    for score in scores:
        groups[score.group.replace("_", " ").replace("/", ": ")][score.source, score.policy] = score
    return dict(sorted(groups.items()))


def _films(films: Sequence[Strip], of: EnvironmentName) -> dict[str, list[dict[str, str]]]:
    """Strips by heading, the pictures as data URIs."""
    by_heading: dict[str, list[dict[str, str]]] = defaultdict(list)
    for strip in sorted(films, key=lambda strip: (strip.source, table.order(strip.split, of), not strip.success)):
        data = base64.b64encode(strip.path.read_bytes()).decode()
        verdict = "success" if strip.success else "failure"
        by_heading[f"{table.title(strip.split, of)}, {strip.source}"].append(
            {
                "data": f"data:image/png;base64,{data}",
                "alt": f"Film strip of a {verdict}: {strip.instruction}",
                "episode_id": strip.episode_id,
            }
        )
    return by_heading


def _spread(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _spread(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
