"""Success rates and what they are worth: Wilson intervals per split, and an interval for the paper's Total.

The Total is the unweighted mean of nine splits' success rates. Its interval is that of Zou, Huang and Zhang (2009, "A
note on confidence interval estimation for a linear function of binomial proportions"): with w = 1/9, rates p and
Wilson limits l and u of each split, it runs from `T - sqrt(sum((w (p - l))^2))` to `T + sqrt(sum((w (u - p))^2))`. It
equals the Wilson interval for a single split and, unlike the normal one, keeps a width when every rate is 0 or 1.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llarp.config import EnvironmentName
from llarp.errors import UserError
from llarp.evaluate.rows import Row
from llarp.files import file_aside

TOTAL = "total"
"""Name of the group that the paper calls Total."""


@dataclass(frozen=True)
class Score:
    """How one policy did on one group of episodes."""

    policy: str
    source: str
    """generated or released."""
    group: str
    """A split, a family of tasks, a tag, or `total`."""
    episodes: int
    success: float
    """[0, 1] success rate; for `total` the mean of the splits' rates."""
    low: float
    """[0, 1] lower end of the 95 % interval."""
    high: float
    """[0, 1] upper end of the 95 % interval."""
    progress: float
    """[0, 1] mean fraction of subgoals reached."""
    invalid_actions: float
    """Mean number of invalid actions per episode."""
    steps: float
    """Mean number of actions per episode."""


@dataclass(frozen=True)
class Summary:
    """The scores of an evaluation."""

    splits: tuple[Score, ...]
    """Per policy, source and split."""
    totals: tuple[Score, ...]
    """Per policy and source, where all nine splits of the paper's Total were evaluated."""
    families: tuple[Score, ...]
    """Per policy, source and family of tasks, over all splits."""
    tags: tuple[Score, ...] = ()
    """Per policy, source and what is told apart within a split: see `llarp.tasks.language.templates.tag`."""
    environment: EnvironmentName = "rearrangement"
    """Family of environments that the episodes are from."""
    digest: str = ""
    """Which episodes these were: see `llarp.evaluate.digest`; empty when nobody said."""

    def find(self, policy: str, source: str, group: str) -> Score | None:
        """The score of a split or of `total`; None when it was not evaluated."""
        wanted = (policy, source, group)
        return next((s for s in self.splits + self.totals if (s.policy, s.source, s.group) == wanted), None)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies, in order of evaluation."""
        return tuple(dict.fromkeys(score.policy for score in self.splits))

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of episodes, generated first."""
        return tuple(sorted({score.source for score in self.splits}))

    def metrics(self, policy: str) -> dict[str, float]:
        """Flat figures of one policy for a tracking server: `eval/<split>/success`, `eval/released/<split>/success`."""
        metrics = {}
        for score in self.splits + self.totals + self.tags:
            if score.policy == policy:
                where = f"eval/{'released/' if score.source == 'released' else ''}{score.group}"
                for name in ("success", "progress", "invalid_actions", "steps"):
                    metrics[f"{where}/{name}"] = getattr(score, name)
        return metrics

    def write(self, path: str | Path) -> None:
        """Writes JSON, whole or not at all."""
        with file_aside(path) as aside:
            aside.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> "Summary":
        """Reads what `write` wrote; UserError when it is something else."""
        try:
            groups = json.loads(Path(path).read_text())
            environment, digest = groups.pop("environment"), groups.pop("digest", "")
            scores = {name: tuple(Score(**score) for score in found) for name, found in groups.items()}
            return cls(**scores, environment=environment, digest=digest)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise UserError("is no summary of an evaluation", path, "run `llarp run` to evaluate again") from error


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success rate, both ends in [0, 1]; all of [0, 1] when nothing was tried."""
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def score(rows: Sequence[Row], policy: str, source: str, group: str) -> Score:
    """The score of at least one row."""
    n, successes = len(rows), sum(row["success"] for row in rows)
    low, high = wilson(successes, n)
    return Score(
        policy, source, group, n, successes / n, low, high,
        progress=math.fsum(row["progress"] for row in rows) / n,
        invalid_actions=sum(row["invalid_actions"] for row in rows) / n,
        steps=sum(row["steps"] for row in rows) / n,
    )  # fmt: skip


def total(scores: Sequence[Score]) -> Score:
    """The mean over splits of one policy, each split weighing the same, with the interval described above."""

    def mean(values: Iterable[float]) -> float:
        return math.fsum(values) / len(scores)

    success = mean(s.success for s in scores)
    below = math.sqrt(math.fsum((s.success - s.low) ** 2 for s in scores)) / len(scores)
    above = math.sqrt(math.fsum((s.high - s.success) ** 2 for s in scores)) / len(scores)
    return Score(
        scores[0].policy, scores[0].source, TOTAL, sum(s.episodes for s in scores),
        success, max(0.0, success - below), min(1.0, success + above),
        progress=mean(s.progress for s in scores),
        invalid_actions=mean(s.invalid_actions for s in scores),
        steps=mean(s.steps for s in scores),
    )  # fmt: skip


def summarise(rows: Sequence[Row], environment: EnvironmentName = "rearrangement") -> Summary:
    """Scores per policy, source and split (in the paper's order), their totals, and per family of tasks and tag.

    A policy and source has a total only when all nine splits of the paper's Total are among the rows: a mean over
    fewer would not be comparable.
    """
    from llarp.environments.make import family as family_of

    known = family_of(environment).splits

    splits: list[Score] = []
    totals: list[Score] = []
    families: list[Score] = []
    tags: list[Score] = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        for source in sorted({row["source"] for row in rows if row["policy"] == policy}):
            mine = [row for row in rows if (row["policy"], row["source"]) == (policy, source)]
            by_split = {
                split: score(chosen, policy, source, split)
                for split in known
                if (chosen := [row for row in mine if row["split"] == split])
            }
            splits += by_split.values()
            in_total = [split for split, facts in known.items() if facts.in_total]
            if in_total and all(split in by_split for split in in_total):
                totals.append(total([by_split[split] for split in in_total]))
            for family in sorted({row["family"] for row in mine}):
                families.append(score([row for row in mine if row["family"] == family], policy, source, family))
            for name, chosen in _by_tag(mine).items():
                tags.append(score(chosen, policy, source, name))
    return Summary(tuple(splits), tuple(totals), tuple(families), tuple(tags), environment)


def _by_tag(rows: Sequence[Row]) -> dict[str, list[Row]]:
    from llarp.tasks.language.templates import tag

    groups: dict[str, list[Row]] = {}
    for row in rows:
        if (name := tag(row["template"])) is not None:
            groups.setdefault(name, []).append(row)
    return dict(sorted(groups.items()))
