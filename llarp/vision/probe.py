"""What a frozen encoder's features tell: linear probes on frames of episodes that the encoder was not trained on.

A probe is ridge regression on targets of -1 and 1, its strength chosen on part of the training frames. Objects count
as in view when they are within the robot's reach and their box covers at least `MIN_PIXELS` pixels, so that the probe
asks for what a policy must know to pick. Legend: N frames, C categories, F numbers of a feature.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.catalog import CATEGORIES, FRIDGE_HANDLE, NAV_TARGETS, category_of_asset
from llarp.scenes.reach import REACH_M
from llarp.sim.base import Playable
from llarp.sim.drawing.painter import corners
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.episode import Episode
from llarp.tasks.skills import Skill
from llarp.vision.encoder import Output, ViTEncoder
from llarp.vision.warm import distinct_views

MIN_PIXELS = 30
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the ridge, added to the diagonal of the Gram matrix, whose own diagonal is about 1."""
TRAIN_SHARE = 0.8
PIXEL_STRIDE = 4
"""Raw pixels are averaged over squares of this edge."""
TOLERANCE = 0.01
"""The class token is as good as the patches when it falls short of them by no more than this."""

PLACES: tuple[str | None, ...] = (None, *NAV_TARGETS)
"""Where the robot may stand: nowhere yet, or before a receptacle or a handle."""

_INDEX = {entry.id: number for number, entry in enumerate(CATEGORIES)}


@dataclass(frozen=True)
class Labelled:
    """Frames and what is true of them."""

    frames: np.ndarray
    """uint8[N, H, W, 3]"""
    in_view: np.ndarray
    """bool[N, C]"""
    receptacle: np.ndarray
    """int64[N] what the robot stands before: a number of `PLACES`."""
    held: np.ndarray
    """int64[N] category held; C for an empty hand."""
    fridge_open: np.ndarray
    """bool[N] whether the fridge stands open in view."""


@dataclass(frozen=True)
class Probe:
    """How much of the truth is read off one kind of feature; shares of 1, nan where no test frame could show it."""

    features: str
    width: int
    """F."""
    in_view: float
    """Mean over categories of the average precision of "is in view"."""
    receptacle: float
    """Share of frames before a receptacle or handle that is named; such a frame is nearly the same every time."""
    held: float
    """Share of frames with something in the hand whose category is named."""
    fridge_open: float
    """Average precision of "the fridge stands open in view"."""

    def metrics(self) -> dict[str, float]:
        """Figures to log, as `probe/patches/in_view`."""
        figures = asdict(self)
        return {f"probe/{self.features}/{name}": figures[name] for name in QUESTIONS}


QUESTIONS = ("in_view", "receptacle", "held", "fridge_open")
"""Fields of `Probe` that answer one."""


class _Together(Playable):
    """The embedded simulator, which knows what is in view, beside the one that is drawn."""

    def __init__(self, known: EmbeddedSimulator, drawn: Playable) -> None:
        self.known, self.drawn = known, drawn

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.drawn.image_shape

    def reset(self, episode: Episode) -> None:
        self.known.reset(episode)
        self.drawn.reset(episode)

    def apply(self, action: Skill) -> bool:
        self.drawn.apply(action)
        return self.known.apply(action)

    def view_key(self) -> bytes:
        return self.drawn.view_key()

    def render(self) -> np.ndarray:
        return self.drawn.render()


def sample_labelled(
    episodes: Sequence[Episode], drawn: Playable, camera: CameraConfig, count: int, seed: int
) -> Labelled:
    """Distinct frames of demonstrations, at most `count`, and what is true of them.

    Args:
        episodes: with demonstrations.
        drawn: the simulator whose frames they are.
        camera: its camera; what is in view is worked out for the embedded simulator.
        count: at most.
        seed: of the order.

    """
    simulator = EmbeddedSimulator(camera)
    frames, in_view, receptacle, held, fridge_open = [], [], [], [], []
    views = distinct_views(episodes, _Together(simulator, drawn), seed)
    for _, shown in zip(range(count), views, strict=False):
        view, pose = simulator.view(), simulator.pose
        row = np.zeros(len(CATEGORIES), bool)
        boxes = simulator.painter.camera.pixel_boxes(
            np.array([corners(placement) for placement in view.placements]).reshape(-1, 8, 3), pose
        )
        for placement, (top, bottom, left, right) in zip(view.placements, boxes, strict=True):
            if (bottom - top) * (right - left) >= MIN_PIXELS and pose.distance(placement.x, placement.y) <= REACH_M:
                row[_INDEX[category_of_asset(placement.asset)]] = True
        frames.append(shown.render())
        in_view.append(row)
        receptacle.append(PLACES.index(simulator.at))
        held.append(len(CATEGORIES) if view.held is None else _INDEX[category_of_asset(view.held[0])])
        fridge_open.append(any(handle == FRIDGE_HANDLE for handle, _ in view.joints))
    return Labelled(np.stack(frames), np.stack(in_view), np.array(receptacle), np.array(held), np.array(fridge_open))


def compare(encoder: ViTEncoder, sample: Labelled, seed: int) -> list[Probe]:
    """Probes of every output of the encoder, of raw pixels, and of the same network untrained."""
    outputs: tuple[Output, ...] = ("cls", "mean", "patches", "units")
    features = _encode(encoder, outputs, sample.frames)
    features["pixels"] = _pixels(sample.frames)
    untrained = _encode(_untrained(encoder, seed), outputs[2:], sample.frames)
    features |= {f"untrained {output}": values for output, values in untrained.items()}
    return [probe(name, values, sample) for name, values in features.items()]


def class_token_suffices(probes: Sequence[Probe]) -> bool:
    """Whether the class token tells as much as the patches do, within `TOLERANCE`, on every question asked."""
    by_name = {entry.features: entry for entry in probes}
    cls, patches = by_name["cls"], by_name["patches"]
    pairs = [(getattr(cls, name), getattr(patches, name)) for name in QUESTIONS]
    return all(few >= many - TOLERANCE for few, many in pairs if not np.isnan(many))


def probe(name: str, features_NF: np.ndarray, sample: Labelled, cut: int | None = None) -> Probe:
    """Fits on the first `cut` frames, or on `TRAIN_SHARE` of all, and scores on the rest."""
    num_categories = sample.in_view.shape[1]
    cut = cut or int(TRAIN_SHARE * len(features_NF))
    names, places = np.arange(num_categories), np.arange(1, len(PLACES))
    truths = (
        sample.in_view, sample.receptacle[:, None] == places, sample.held[:, None] == names, sample.fridge_open[:, None]
    )  # fmt: skip
    ridge = _Ridge(features_NF[:cut], features_NF[cut:])
    in_view, standing, held, opened = ridge.scores([truth[:cut] for truth in truths])
    precisions = [average_precision(in_view[:, c], sample.in_view[cut:, c]) for c in names]
    somewhere = np.flatnonzero(sample.receptacle[cut:])
    placed = standing[somewhere].argmax(1) + 1 == sample.receptacle[cut:][somewhere]
    holding = np.flatnonzero(sample.held[cut:] < num_categories)
    named = held[holding].argmax(1) == sample.held[cut:][holding]
    return Probe(
        features=name,
        width=features_NF.shape[1],
        in_view=float(np.nanmean(precisions)) if not np.isnan(precisions).all() else float("nan"),
        receptacle=float(placed.mean()) if len(somewhere) else float("nan"),
        held=float(named.mean()) if len(holding) else float("nan"),
        fridge_open=average_precision(opened[:, 0], sample.fridge_open[cut:]),
    )


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the true ones of the precision at their rank; nan when none is true."""
    ranked = truth[np.argsort(-scores, kind="stable")]
    if not ranked.any():
        return float("nan")
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean())


class _Ridge:
    """Ridge regression solved in the space of the N training rows, as there are often more numbers than frames."""

    def __init__(self, train_NF: np.ndarray, test_NF: np.ndarray) -> None:
        mean, std = train_NF.mean(0), train_NF.std(0) + 1e-4
        train, test = (train_NF - mean) / std, (test_NF - mean) / std
        self.gram, self.cross = train @ train.T / train.shape[1], test @ train.T / train.shape[1]

    def scores(self, truths: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Scores [M, Q] of the test rows for questions answered by bool[N, Q] on the training rows, a strength each."""
        wanted = [np.where(truth, 1.0, -1.0).astype(self.gram.dtype) for truth in truths]
        together, ends = np.concatenate(wanted, 1), np.cumsum([part.shape[1] for part in wanted])[:-1]
        inner = int(TRAIN_SHARE * len(together))
        errors = []
        for strength in STRENGTHS:
            guess = _solve(self.gram[:inner, :inner], together[:inner], self.gram[inner:, :inner], strength)
            squares = np.split(np.square(guess - together[inner:]).mean(0), ends)
            errors.append([part.mean() for part in squares])
        best = np.argmin(errors, 0)
        guesses = {number: _solve(self.gram, together, self.cross, STRENGTHS[number]) for number in set(best)}
        return [np.split(guesses[number], ends, 1)[part] for part, number in enumerate(best)]


def _solve(gram: np.ndarray, wanted: np.ndarray, cross: np.ndarray, strength: float) -> np.ndarray:
    middle = wanted.mean(0)
    ridge = gram + strength * np.eye(len(gram), dtype=gram.dtype)
    return cross @ np.linalg.solve(ridge, wanted - middle) + middle


def _encode(encoder: ViTEncoder, outputs: Sequence[Output], frames: np.ndarray) -> dict[str, np.ndarray]:
    """float32[N, F] of each output, as the store keeps them: through float16."""
    parts = [
        {output: values.astype(np.float16) for output, values in encoder.encode_all(batch, outputs).items()}
        for batch in (frames[start : start + 64] for start in range(0, len(frames), 64))
    ]
    return {
        output: np.concatenate([part[output] for part in parts]).reshape(len(frames), -1).astype(np.float32)
        for output in outputs
    }


def _pixels(frames: np.ndarray) -> np.ndarray:
    count, height, width, _ = frames.shape
    rows, columns = height // PIXEL_STRIDE, width // PIXEL_STRIDE
    cut = frames[:, : rows * PIXEL_STRIDE, : columns * PIXEL_STRIDE]
    squares = cut.reshape(count, rows, PIXEL_STRIDE, columns, PIXEL_STRIDE, 3)
    return squares.mean((2, 4), dtype=np.float32).reshape(count, -1)


def _untrained(encoder: ViTEncoder, seed: int) -> ViTEncoder:
    import torch
    from transformers import ViTModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ViTEncoder(ViTModel(encoder.model.config, add_pooling_layer=False), encoder.preprocessing, "patches")
