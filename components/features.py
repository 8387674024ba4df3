"""Stage `features`: encodes in advance what training is going to see, each view once.

That is every view of the demonstrations, and what episodes of a pool show from every standing point before anything is
done: where reinforcement learning begins. The store outlives its stage's runs: what stands is kept, what is damaged or
missing is made. Ranks share the work, and so can machines that share the folder, or whose folders are merged later.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.launch import launch_ranks, main_of_ranks
from components.overlay import open_overlay
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params
from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.environments.base import Environment
    from llarp.vision.encoder import ViTEncoder
    from llarp.vision.warm import Warmed

_PART = "--part"


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """In each rank: completes the feature store; the first writes the demonstrations as keys of views and actions."""
    warmed = _warm(params, paths, (0, 1))
    if not warmed.is_first:
        return Result("")
    _write_demonstrations(paths, warmed)
    return warmed.result(params, paths)


def complete(part: tuple[int, int], params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """In each rank: a machine's part of the store alone, (number, count) of machines."""
    warmed = _warm(params, paths, part)
    return warmed.result(params, paths) if warmed.is_first else Result("")


def launch(params: Params, part: tuple[int, int] | None = None) -> None:
    """Starts the ranks of this machine: of the stage, or for one part of the store alone."""
    arguments = () if part is None else (_PART, f"{part[0]}/{part[1]}")
    launch_ranks("components.features", params.features, arguments=arguments)


@dataclass(frozen=True)
class _Warmed:
    """What the stage has done."""

    environment: "Environment"
    episodes: Any
    done: "Warmed"
    is_first: bool

    def result(self, params: Params, paths: Paths) -> Result:
        """To be told."""
        done, pool = self.done, min(params.features.pool, len(self.episodes))
        num_bytes = sum(file.stat().st_size for file in paths.features.iterdir())
        figures: dict[str, float] = {
            "features/views": sum(len(walk) for of_one in done.keys for walk in of_one),
            "features/distinct": done.num_distinct, "features/encoded": done.num_encoded, "features/bytes": num_bytes,
        }  # fmt: skip
        if done.num_encoded:
            figures["features/encodes_per_s"] = done.num_encoded / done.seconds
        of = f"{len(self.episodes)} demonstrations" + (f" and of {pool} episodes' standing points" if pool else "")
        told = f"Encoded {done.num_encoded} of the {done.num_distinct} distinct views of {of}"
        return Result(f"{told}; {num_bytes / 2**20:.0f} MiB are stored.", figures)


def _warm(params: Params, paths: Paths, part: tuple[int, int]) -> _Warmed:
    from llarp.environments.make import make_environment
    from llarp.environments.recorded import WithRecordings, recordings
    from llarp.ranks import Ranks
    from llarp.vision.encoder import load_encoder
    from llarp.vision.warm import warm

    ranks, config = Ranks.meet(params.features, "features"), params.features
    environment = make_environment(params)
    encoder = ranks.alike(lambda: load_encoder(paths.encoder))
    simulator = ranks.alike(environment.simulator)
    ranks.alike(lambda: prepare(paths, encoder, simulator.image_shape) if ranks.is_first else None)
    episodes: Any = ranks.alike(lambda: environment.read(paths.split("train")))
    num_pooled = min(config.pool, len(episodes))
    if own := ranks.alike(lambda: recordings(environment.actions)):
        episodes, simulator = [*episodes, *own], WithRecordings(simulator)

    def walks(number: int) -> list[Any]:
        tours = [environment.tour(episodes[number])] if number < num_pooled else []
        return [episodes[number].demonstration, *tours]

    with ranks.alike(lambda: open_overlay(params, paths, encoder)) as known:
        done = warm(episodes, walks, simulator, encoder, paths.features, config.batch_size, ranks, known, part)
    return _Warmed(environment, episodes, done, ranks.is_first)


def prepare(paths: Paths, encoder: "ViTEncoder", image: tuple[int, ...]) -> None:
    """Leaves a store in which nothing is damaged, of this encoder and size of image, where there may have been none.

    A store of another kind is moved away, and what is damaged is dropped; both are told on stderr.
    """
    from llarp.files import replace_folder
    from llarp.vision.manifest import MANIFEST, Manifest
    from llarp.vision.store import ShardStore, check_origin

    folder = paths.features
    if (folder / MANIFEST).exists():
        try:
            check_origin(folder, Manifest.read(folder), encoder, image)
        except UserError as error:
            replace_folder(folder, paths.replaced_features)
            print(
                f"warning: {error.where}: {error.what}: moved to {paths.replaced_features}, begun anew",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        else:
            for line in ShardStore.drop_damaged(folder):
                print(f"warning: {line}: it is rebuilt", file=sys.stderr, flush=True)
            return
    ShardStore.create(folder, encoder, image)


def _write_demonstrations(paths: Paths, warmed: _Warmed) -> None:
    from llarp.learn import demonstrations
    from llarp.learn.demonstrations import Demonstration, Demonstrations

    number = {action: number for number, action in enumerate(warmed.environment.actions)}
    shown = (
        Demonstration(episode.episode_id, episode.instruction, keys[0], [number[act] for act in episode.demonstration])
        for episode, keys in zip(warmed.episodes, warmed.done.keys, strict=True)
    )
    demonstrations.write(paths.demonstrations, Demonstrations(shown, warmed.environment.names()))


def _asked_part() -> tuple[int, int]:
    number, _, count = sys.argv[sys.argv.index(_PART) + 1].partition("/")
    return int(number), int(count)


if __name__ == "__main__":
    if _PART in sys.argv:
        asked = _asked_part()
        main("features", lambda *arguments: complete(asked, *arguments), tracked=False)
    else:
        main_of_ranks("features", run, launch)
