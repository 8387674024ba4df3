"""Training curves in a file that outlives an interrupted training, as its checkpoints do."""

import json
from collections.abc import Mapping
from pathlib import Path

from components.stage import OnMetrics
from llarp.files import file_aside


class Curves:
    """An `OnMetrics` that appends each point to a file and passes it on; points of before an interruption too."""

    def __init__(self, path: Path, pass_on: OnMetrics) -> None:
        """Args:
        path: lines of JSON `[step, {name: value}]`.
        pass_on: gets every point of the training once, in order.
        """
        self.path, self.pass_on, self._started = path, pass_on, False

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Adds a point."""
        if not self._started:
            self._started = True
            for earlier in self.points(before=step):
                self.pass_on(*earlier)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps([step, metrics]) + "\n")
        self.pass_on(step, metrics)

    def points(self, before: int | None = None) -> list[tuple[int, dict[str, float]]]:
        """All points so far; one that was reached again after an interruption replaces those from its step on."""
        points: list[tuple[int, dict[str, float]]] = []
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                step, metrics = json.loads(line)
            except ValueError:  # the last line, cut off when the process was killed
                continue
            while points and points[-1][0] >= step:
                points.pop()
            points.append((step, metrics))
        return [point for point in points if before is None or point[0] < before]

    def finish(self, path: Path) -> None:
        """Writes the curves as JSON {name: [[step, value], ...]} and forgets the points."""
        with file_aside(path) as aside:
            aside.write_text(json.dumps(by_name(self.points())) + "\n")
        self.path.unlink(missing_ok=True)


def by_name(points: list[tuple[int, dict[str, float]]]) -> Mapping[str, list[tuple[int, float]]]:
    """The curve of each metric."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, metrics in points:
        for name, value in metrics.items():
            curves.setdefault(name, []).append((step, value))
    return curves


def read(path: Path) -> dict[str, list[tuple[int, float]]]:
    """What `finish` wrote."""
    return {name: [(step, value) for step, value in curve] for name, curve in json.loads(path.read_text()).items()}
