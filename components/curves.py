"""Training curves in a file that outlives an interrupted training, as its checkpoints do."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from components.stage import OnMetrics
from llarp.files import file_aside

TELLING = (
    "bc/loss", "bc/accuracy", "rollout/success_rate", "rollout/invalid_actions", "ppo/entropy", "ppo/approx_kl",
    "ppo/explained_variance", "loss/value", "speed/steps_per_s",
)  # fmt: skip
"""What a report shows of all the curves."""

Points = list[tuple[int, dict[str, float]]]
"""(step, {name: value}), by step."""


class Curves:
    """Appends each point of a training to a file and passes it on; points of before an interruption too.

    A training has phases that follow one another. Each counts its own steps, and its metrics have names of their own.
    """

    def __init__(self, path: Path, pass_on: OnMetrics) -> None:
        """Args:
        path: lines of JSON `[phase, step, {name: value}]`.
        pass_on: gets every point of the training once, phase after phase, in order.
        """
        self.path, self.pass_on, self._started = path, pass_on, False

    def phase(self, name: str) -> OnMetrics:
        """What adds the points of a phase."""
        return partial(self._add, name)

    def points(self, phase: str) -> Points:
        """All points of a phase so far."""
        return self._phases().get(phase, [])

    def finish(self, path: Path) -> None:
        """Writes the curves of all phases as JSON {name: [[step, value], ...]} and forgets the points."""
        points = [point for phase in self._phases().values() for point in phase]
        with file_aside(path) as aside:
            aside.write_text(json.dumps(by_name(points)) + "\n")
        self.path.unlink(missing_ok=True)

    def _add(self, phase: str, step: int, metrics: dict[str, float]) -> None:
        line = json.dumps([phase, step, metrics]) + "\n"
        if not self._started:
            self._started = True
            for earlier in self._before(phase, step):
                self.pass_on(*earlier)
            if self.path.exists() and not self.path.read_text().endswith("\n"):  # a kill has cut off the last line
                line = "\n" + line
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(line)
        self.pass_on(step, metrics)

    def _before(self, phase: str, step: int) -> Points:
        """What an interrupted training had done before a step of a phase."""
        before: Points = []
        for name, points in self._phases().items():
            if name == phase:
                return before + [point for point in points if point[0] < step]
            before += points
        return before

    def _phases(self) -> dict[str, Points]:
        """The points of every phase, in the order of the training.

        A point that was reached again after an interruption replaces those of its phase from its step on, and all of
        later phases. The steps of other phases say nothing about it.
        """
        phases: dict[str, Points] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                phase, step, metrics = json.loads(line)
            except ValueError:  # cut off when the process was killed
                continue
            points = phases.setdefault(phase, [])
            while next(reversed(phases)) != phase:
                phases.popitem()
            while points and points[-1][0] >= step:
                points.pop()
            points.append((step, metrics))
        return phases


def by_name(points: Points) -> Mapping[str, list[tuple[int, float]]]:
    """The curve of each metric."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, metrics in points:
        for name, value in metrics.items():
            curves.setdefault(name, []).append((step, value))
    return curves


def read(path: Path) -> dict[str, list[tuple[int, float]]]:
    """What `finish` wrote."""
    return {name: [(step, value) for step, value in curve] for name, curve in json.loads(path.read_text()).items()}
