"""The gate before the alias `champion`: what is known of two versions, what is demanded, and a decision in words.

A split fails when the candidate's success rate is more than `max_drop` below the champion's and chance does not explain
the loss: McNemar's exact one-sided test on the episodes that only one of the two solved, made fit for many splits by
Holm's method, at level `alpha`. Why not every larger drop: docs/promotion.md. The total, over all of them, must be no
lower than the champion's, whatever chance may say.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from components.evidence import Evidence
from llarp.config import PromoteConfig
from llarp.errors import UserError
from llarp.evaluate.compare import Difference, compare, holm, rates

_SLACK = 1e-9
"""For rates that are equal but for rounding."""


@dataclass(frozen=True)
class Check:
    """One thing that is demanded of a candidate."""

    name: str
    demanded: str
    measured: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.measured}, demanded {self.demanded}"


@dataclass(frozen=True)
class Decision:
    """What the gate says, with all it has looked at."""

    model: str
    candidate: str
    """Version."""
    champion: str | None
    """Version; None: there was none."""
    digest: str
    episodes: int
    checks: tuple[Check, ...]
    differences: tuple[Difference, ...]
    """Every split, then the totals; empty without a champion."""
    adjusted: Mapping[str, float]
    """Split -> p_worse made fit for so many splits."""
    rates: Mapping[str, float]
    """Of the candidate by split and total, [0, 1]."""
    config: PromoteConfig
    runs: tuple[str, ...] = ()
    """In MLflow, with the rows of the candidate and the champion."""

    @property
    def passed(self) -> bool:
        """Whether the candidate may be promoted, as far as numbers go."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        """The checks that it did not pass."""
        return [check for check in self.checks if not check.passed]

    @property
    def summary(self) -> str:
        """In a line."""
        against = f"against version {self.champion}" if self.champion else "the first champion"
        if self.passed:
            return f"version {self.candidate} passes the gate, {against}: {len(self.checks)} checks"
        return f"version {self.candidate} does not pass the gate, {against}: {'; '.join(map(str, self.failures))}"

    def json(self) -> str:
        """Every number."""
        facts = {**asdict(self), "config": self.config.model_dump(), "passed": self.passed, "summary": self.summary}
        return json.dumps(facts, indent=1) + "\n"

    def markdown(self) -> str:
        """For a person to read; a few kB."""
        verdict = "passes" if self.passed else "does **not** pass"
        against = f"champion: version {self.champion}" if self.champion else "there is no champion yet"
        lines = [
            f"{self.model} version {self.candidate} {verdict} the gate ({against}; "
            f"{self.episodes:,} episodes, digest {self.digest}).",
        ]
        if self.failures:
            lines += ["", "What speaks against it:", "", *(f"* {check}" for check in self.failures)]
        lines += ["", "| check | demanded | measured | |", "|---|---|---|---|"]
        overall = [check for check in self.checks if not check.name.startswith(_KEEPS)]
        lines += [f"| {c.name} | {c.demanded} | {c.measured} | {_mark(c.passed)} |" for c in overall]
        if self.differences:
            drops = [check for check in self.checks if check.name.startswith(_KEEPS)]
            demanded = f"{len(drops)} splits, {drops[0].demanded}" if drops else "no split"
            bad = [check for check in drops if not check.passed]
            told = f"{len(bad)} are worse" if bad else "none is worse"
            lines += [f"| every split | {demanded} | {told} | {_mark(not bad)} |", "", *self._table()]
        else:
            lines += ["", "| split | success in percent |", "|---|--:|"]
            lines += [f"| {name} | {100 * rate:.1f} |" for name, rate in self.rates.items()]
        return "\n".join(lines) + "\n"

    def _table(self) -> list[str]:
        level = f"{100 * self.config.confidence:g} %"
        failed = {check.name for check in self.failures}
        lines = [
            f"Success in percent; the difference in points, with its {level} interval; episodes that only one of the "
            "two solved; exact p of losing so many by chance, by itself and made fit for so many splits.",
            "",
            f"| split | n | candidate | champion | difference | {level} | won | lost | p | p, all | |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        ]
        for one in self.differences:
            adjusted = self.adjusted.get(one.group)
            name = f"{_BETTER}{one.group}" if one.is_total else _KEEPS + one.group
            lines.append(
                f"| {one.group} | {one.episodes} | {100 * one.candidate:.1f} | {100 * one.champion:.1f} "
                f"| {100 * one.difference:+.1f} | {100 * one.low:+.1f} to {100 * one.high:+.1f} "
                f"| {one.won} | {one.lost} | {one.p_worse:.2g} | {'' if adjusted is None else f'{adjusted:.2g}'} "
                f"| {_mark(name not in failed)} |"
            )
        return lines


def decide(model: str, candidate: Evidence, champion: Evidence | None, config: PromoteConfig) -> Decision:
    """Whether a candidate may become the champion.

    Args:
        model: its registered name, for the words.
        candidate: who wants to be promoted.
        champion: who is there; None: only what is demanded of everyone counts.
        config: what is demanded.

    Raises:
        UserError: the two were evaluated on different episodes.

    """
    own = rates(candidate.rows)
    checks = [_least(name, least, own) for name, least in config.min_success.items()]
    differences: list[Difference] = []
    adjusted: dict[str, float] = {}
    if champion is not None:
        if champion.digest != candidate.digest:
            raise UserError(
                f"was evaluated on other episodes ({candidate.digest}) than the champion ({champion.digest})",
                f"model {model} version {candidate.version}",
                f"evaluate the champion on those: python -m components.assess {champion.version}",
            )
        differences = compare(candidate.rows, champion.rows, config.confidence, config.bootstrap)
        splits = [one for one in differences if not one.is_total]
        ps = holm([one.p_worse for one in splits])
        adjusted = {one.group: p for one, p in zip(splits, ps, strict=True)}
        checks += [_better(one) for one in differences if one.is_total]
        checks += [_keeps(one, adjusted[one.group], config) for one in splits]
    checks += _bounds(candidate, config)
    runs = (candidate.run_id, champion.run_id) if champion else (candidate.run_id,)
    against = champion.version if champion else None
    return Decision(
        model, candidate.version, against, candidate.digest, len(candidate.rows), tuple(checks), tuple(differences),
        adjusted, own, config, runs,
    )  # fmt: skip


_KEEPS, _BETTER = "loss on ", "success on "
"""Begin the names of checks."""


def _least(name: str, least: float, own: Mapping[str, float]) -> Check:
    if name not in own:
        return Check(f"least success on {name}", f"at least {100 * least:g} %", "not evaluated", False)
    return Check(
        f"least success on {name}",
        f"at least {100 * least:g} %",
        f"{100 * own[name]:.1f} %",
        own[name] >= least - _SLACK,
    )


def _better(one: Difference) -> Check:
    measured = (
        f"{100 * one.candidate:.1f} % against {100 * one.champion:.1f} %, {_points(one.difference)} "
        f"({100 * one.low:+.1f} to {100 * one.high:+.1f})"
    )
    return Check(_BETTER + one.group, "no lower than the champion's", measured, one.difference >= -_SLACK)


def _keeps(one: Difference, adjusted: float, config: PromoteConfig) -> Check:
    demanded = f"no more than {100 * config.max_drop:g} points below the champion"
    if config.alpha < 1:
        demanded += f" unless by chance (p > {config.alpha:g})"
    is_worse = one.difference < -config.max_drop - _SLACK and adjusted <= config.alpha
    return Check(
        _KEEPS + one.group,
        demanded,
        f"{_points(one.difference)} ({100 * one.low:+.1f} to {100 * one.high:+.1f}), {one.lost} lost, {one.won} won, "
        f"p = {adjusted:.2g}",
        not is_worse,
    )


def _bounds(candidate: Evidence, config: PromoteConfig) -> list[Check]:
    """Speed and size; what was not measured does not pass a bound."""
    found = []
    for name, most, value, unit in (
        ("latency of a step (p99)", config.max_latency_ms, candidate.latency_ms, "ms"),
        ("size of its files", config.max_size_mb, candidate.size_mb, "MB"),
    ):
        if most is not None:
            measured = "not measured" if value is None else f"{value:.4g} {unit}"
            found.append(Check(name, f"at most {most:g} {unit}", measured, value is not None and value <= most))
    return found


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _mark(passed: bool) -> str:
    return "ok" if passed else "**no**"
