"""Two policies on the very same episodes: what differs, and whether chance explains it.

Every episode is a pair of outcomes, and only the pairs that differ tell anything: `lost`, where the champion alone
succeeded, and `won`, where the candidate alone did. If neither were better, each such pair would fall either way like a
coin, so the binomial distribution gives exact probabilities (McNemar's exact test), however few episodes there are.

The interval of a difference is a percentile bootstrap over pairs. A resampled split is a draw of n pairs with
replacement, of which only the counts of lost, tied and won matter: one multinomial draw, so that 10,000 resamples cost
milliseconds. A total is the mean over splits, each of which is resampled by itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llarp.errors import UserError
from llarp.evaluate.rows import Row
from llarp.evaluate.statistics import TOTAL

Outcomes = Mapping[str, bool]
"""Name of an episode -> whether the goal was reached."""


@dataclass(frozen=True)
class Difference:
    """A candidate against a champion on the episodes of one split, or on a total over splits."""

    group: str
    """`new_scenes`, `released/new_scenes`, `total` or `released/total`."""
    episodes: int
    candidate: float
    """[0, 1] success rate; of a total the mean of the splits' rates, as `champion` and `difference`."""
    champion: float
    """[0, 1]"""
    difference: float
    """[-1, 1] candidate minus champion."""
    low: float
    """[-1, 1] lower end of the bootstrap interval of the difference."""
    high: float
    """[-1, 1] upper end."""
    won: int
    """Episodes that the candidate alone solved."""
    lost: int
    """Episodes that the champion alone solved."""
    p: float
    """(0, 1] exact probability of a difference as large as this, either way, were both equally good."""
    p_worse: float
    """(0, 1] exact probability of losing as many of the `won + lost` episodes or more, were both equally good."""

    @property
    def is_total(self) -> bool:
        """Whether it is over several splits."""
        return group_of(self.group) == TOTAL


def group_of(name: str) -> str:
    """The split, or `total`, of a name that may begin with `released/`."""
    return name.rpartition("/")[2]


def outcomes(rows: Sequence[Row]) -> dict[str, dict[str, bool]]:
    """Success by split and episode of one policy's rows; splits in the order of the rows, `released/` before such."""
    groups: dict[str, dict[str, bool]] = {}
    for row in rows:
        name = f"released/{row['split']}" if row["source"] == "released" else row["split"]
        groups.setdefault(name, {})[row["episode_id"]] = row["success"]
    return groups


def totals(names: Collection[str]) -> dict[str, list[str]]:
    """Name of each total -> the splits that it is the mean of.

    Those of the paper's nine that were evaluated; all splits, where the environment has none of them.
    """
    from llarp.tasks.splits import SPLITS

    found = {}
    for prefix in ("", "released/"):
        mine = [name for name in names if name == prefix + group_of(name)]
        counted = [name for name in mine if (facts := SPLITS.get(group_of(name))) and facts.in_total]
        if mine:
            found[prefix + TOTAL] = counted or mine
    return found


def rates(rows: Sequence[Row]) -> dict[str, float]:
    """Success rates of one policy by split, then of the totals."""
    by_split = {name: float(np.mean(list(found.values()))) for name, found in outcomes(rows).items()}
    by_total = {name: float(np.mean([by_split[part] for part in parts])) for name, parts in totals(by_split).items()}
    return by_split | by_total


def compare(
    candidate: Sequence[Row], champion: Sequence[Row], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> list[Difference]:
    """Every split, then the totals.

    Args:
        candidate: rows of one policy.
        champion: rows of the other, of the same episodes in any order.
        confidence: of the intervals.
        resamples: of the bootstrap.
        seed: of the bootstrap; the same rows and seed give the same intervals.

    Raises:
        UserError: the episodes are not the same.

    """
    ours, theirs = outcomes(candidate), outcomes(champion)
    if _names(ours) != _names(theirs):
        odd = min(_names(ours) ^ _names(theirs))
        raise UserError(f"episode {odd[1]} of {odd[0]} was evaluated for one of the two only", "evaluation")
    rng = np.random.default_rng(seed)
    ends = ((1 - confidence) / 2, (1 + confidence) / 2)
    found: dict[str, Difference] = {}
    drawn: dict[str, np.ndarray] = {}
    for name in ours:
        n, won, lost = len(ours[name]), *_discordant(ours[name], theirs[name])
        counts = rng.multinomial(n, [won / n, lost / n, 1 - (won + lost) / n], size=resamples)
        drawn[name] = (counts[:, 0] - counts[:, 1]) / n
        rate, other = sum(ours[name].values()) / n, sum(theirs[name].values()) / n
        found[name] = _difference(name, n, rate, other, (won - lost) / n, drawn[name], ends, won, lost)
    for name, parts in totals(list(ours)).items():
        some = [found[part] for part in parts]
        found[name] = _difference(
            name,
            sum(one.episodes for one in some),
            float(np.mean([one.candidate for one in some])),
            float(np.mean([one.champion for one in some])),
            float(np.mean([one.difference for one in some])),
            np.mean([drawn[part] for part in parts], axis=0),
            ends,
            sum(one.won for one in some),
            sum(one.lost for one in some),
        )
    return list(found.values())


def mcnemar(won: int, lost: int) -> tuple[float, float]:
    """(two-sided, one-sided) exact p of McNemar's test; the latter of losing so many or more. 1 when none differs."""
    if won + lost == 0:
        return 1.0, 1.0
    from scipy.stats import binomtest

    return (
        float(binomtest(lost, won + lost, 0.5).pvalue),
        float(binomtest(lost, won + lost, 0.5, alternative="greater").pvalue),
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Probabilities of several tests made fit to be compared with one threshold (Holm 1979), in the same order.

    All those at or below alpha may be called significant, and the chance that any of these is by chance is alpha.
    """
    adjusted, floor = [1.0] * len(ps), 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        floor = max(floor, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = floor
    return adjusted


def _names(groups: Mapping[str, Outcomes]) -> set[tuple[str, str]]:
    return {(name, episode) for name, found in groups.items() for episode in found}


def _discordant(ours: Outcomes, theirs: Outcomes) -> tuple[int, int]:
    """(won, lost)."""
    won = sum(success and not theirs[episode] for episode, success in ours.items())
    lost = sum(theirs[episode] and not success for episode, success in ours.items())
    return won, lost


def _difference(
    name: str, episodes: int, rate: float, other: float, difference: float,
    drawn: np.ndarray, ends: tuple[float, float], won: int, lost: int,
) -> Difference:  # fmt: skip
    low, high = np.quantile(drawn, ends)
    p, p_worse = mcnemar(won, lost)
    return Difference(name, episodes, rate, other, difference, float(low), float(high), won, lost, p, p_worse)
