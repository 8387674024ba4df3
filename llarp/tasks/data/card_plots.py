"""The pictures of a data card: how training and evaluation are spread over families, scenes, things and lengths."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llarp.tasks.data.dataset import Report, SplitReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAINING, _EVALUATION = "#2b6cb0", "#ed8936"
_STYLE: dict[Any, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the same data give the same picture
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "legend.frameon": False,
}
_DPI = 110


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Writes the pictures as PNG; returns the file's name of each under what it shows."""
    training, evaluation = training_and_evaluation(report)
    pictures = {}
    for name, what, height_in in (
        ("family", "Family", 3.6), ("category", "Category that the goal names", 6.6),
        ("receptacle", "Receptacle that the goal names", 3.0),
    ):  # fmt: skip
        with _figure(folder / f"{name}.png", 8, height_in) as figure:
            _bars(figure.subplots(), training.get(name, {}), evaluation.get(name, {}))
        pictures[what] = f"{name}.png"
    with _figure(folder / "layout.png", 8, 2.6) as figure:
        _scenes(figure.subplots(), training.get("layout", {}), evaluation.get("layout", {}))
    pictures["Scene"] = "layout.png"
    with _figure(folder / "length.png", 8, 2.8) as figure:
        axes = figure.subplots(1, 3)
        for place, (name, label) in zip(
            axes,
            (
                ("words", "words in an instruction"),
                ("plan", "steps of a plan"),
                ("demonstration", "of a demonstration"),
            ),
            strict=True,
        ):
            _histogram(place, training.get(name, {}), evaluation.get(name, {}), label)
        axes[0].legend()
    pictures["Length of instruction, plan and demonstration"] = "length.png"
    compared = [split for split in report.splits if split.similarity is not None]
    if compared:
        with _figure(folder / "similarity.png", 8, 3.4) as figure:
            _similarity(figure.subplots(), compared)
        pictures["Similarity of instructions to the nearest in training: 5 % to 95 %, and the median"] = (
            "similarity.png"
        )
    return pictures


def training_and_evaluation(report: Report) -> tuple[dict[str, Counter[str]], dict[str, Counter[str]]]:
    """Counts by kind of count, of the split `train` and of all the others together."""
    sums: tuple[dict[str, Counter[str]], dict[str, Counter[str]]] = ({}, {})
    for split in report.splits:
        for name, counts in split.counts.items():
            sums[split.split != "train"].setdefault(name, Counter()).update(counts)
    return sums


@contextmanager
def _figure(path: Path, width_in: float, height_in: float) -> Iterator["Figure"]:
    """A figure that is written at the end. It never touches pyplot: no display, no global state."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure((width_in, height_in), layout="constrained")
        yield figure
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _shares(counts: Mapping[str, int], names: Sequence[str]) -> list[float]:
    total = sum(counts.values()) or 1
    return [100 * counts.get(name, 0) / total for name in names]


def _bars(axes: "Axes", training: Mapping[str, int], evaluation: Mapping[str, int]) -> None:
    names = sorted({*training, *evaluation}, key=lambda name: (training.get(name, 0), evaluation.get(name, 0), name))
    rows = range(len(names))
    axes.barh([row + 0.2 for row in rows], _shares(training, names), 0.38, color=_TRAINING, label="training")
    axes.barh([row - 0.2 for row in rows], _shares(evaluation, names), 0.38, color=_EVALUATION, label="evaluation")
    axes.set_yticks(list(rows), names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("percent")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")


def _scenes(axes: "Axes", training: Mapping[str, int], evaluation: Mapping[str, int]) -> None:
    first = 0
    for counts, colour, label in ((training, _TRAINING, "training"), (evaluation, _EVALUATION, "evaluation")):
        names = sorted(counts)
        axes.bar(range(first, first + len(names)), [counts[name] for name in names], 1.0, color=colour, label=label)
        first += len(names)
    axes.set_xticks([])
    axes.set_xlabel(f"{first} layouts by name")
    axes.set_ylabel("episodes")
    axes.set_yscale("log")
    axes.legend(loc="upper right")


def _histogram(axes: "Axes", training: Mapping[str, int], evaluation: Mapping[str, int], label: str) -> None:
    numbers = range(1, max(map(int, (*training, *evaluation))) + 1)
    for counts, colour, name in ((training, _TRAINING, "training"), (evaluation, _EVALUATION, "evaluation")):
        axes.step(numbers, _shares(counts, list(map(str, numbers))), where="mid", color=colour, label=name)
    axes.set_ylim(0)
    axes.set_xlabel(label)
    axes.set_ylabel("percent of episodes" if label.startswith("words") else "")


def _similarity(axes: "Axes", splits: Sequence[SplitReport]) -> None:
    for row, split in enumerate(reversed(splits)):
        assert split.similarity is not None
        axes.plot((split.similarity.low, split.similarity.high), (row, row), color="#9aa5b1", linewidth=5)
        axes.plot(split.similarity.median, row, "o", color=_EVALUATION)
    axes.set_yticks(range(len(splits)), [split.split for split in reversed(splits)])
    axes.set_xlabel("cosine")
    axes.set_xlim(right=1.005)
