"""Stage `encoder`: the frozen visual encoder, made here from frames or converted from VC-1's weights."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from components.unsent import in_a_line
from llarp.config import Params
from llarp.files import file_aside

if TYPE_CHECKING:
    from llarp.environments.base import Environment
    from llarp.vision.encoder import ViTEncoder
    from llarp.vision.provenance import Provenance

PROBED_FRAMES = 2000
"""At most; a probe needs some dozens of frames per category."""
PROBED_SHARE = 0.25
"""Of the training episodes: kept from the encoder, so that the probes ask about frames it has not seen."""


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes the encoder's folder and what linear probes read off its features."""
    from llarp.environments.make import make_environment
    from llarp.environments.rearrangement import Rearrangement
    from llarp.vision import probe

    environment = make_environment(params)
    episodes = environment.read(paths.split("train"))
    cut = int((1 - PROBED_SHARE) * len(episodes))
    encoder = build(params, paths, environment, episodes[:cut], on_metrics)
    unseen = episodes[cut:]
    if not isinstance(environment, Rearrangement):
        with file_aside(paths.probe) as aside:
            aside.write_text("[]\n")
        return Result(
            f"The encoder gives {encoder.num_tokens} x {encoder.dim} numbers per image; it is not probed here."
        )
    count = min(PROBED_FRAMES, params.vision.frames)
    sample = probe.sample_labelled(unseen, environment.simulator(), params.camera, count, params.seed)
    probes = probe.compare(encoder, sample, params.seed)
    with file_aside(paths.probe) as aside:
        aside.write_text(json.dumps([asdict(entry) for entry in probes], indent=1) + "\n")
    table = [f"{'probe of':<20}{'in view':>9}{'receptacle':>12}{'held':>9}{'fridge open':>13}"]
    table += [
        f"{p.features:<20}{p.in_view:>9.2f}{p.receptacle:>12.2f}{p.held:>9.2f}{p.fridge_open:>13.2f}" for p in probes
    ]
    verdict = "is as good as" if probe.class_token_suffices(probes) else "falls short of"
    metrics = {name: value for entry in probes for name, value in entry.metrics().items()}
    return Result("\n".join([*table, f"The class token {verdict} the patches."]), metrics)


def build(
    params: Params, paths: Paths, environment: "Environment", episodes: Sequence[Any], on_metrics: OnMetrics
) -> "ViTEncoder":
    """The encoder that `vision.encoder` asks for, written to its folder."""
    import os

    import torch

    from llarp.vision.provenance import OWN

    config = params.vision
    torch.set_num_threads(os.cpu_count() or 1)  # nothing else runs beside this stage
    if config.encoder == "mae-tiny":
        tell(OWN)
        from llarp.vision.mae import train_mae
        from llarp.vision.warm import sample_frames

        frames = sample_frames(episodes, environment.simulator(), config.frames, params.seed)
        return train_mae(frames, config, params.seed, paths.encoder, on_metrics)
    from llarp.vision.named import named_encoder

    encoder = named_encoder(config)
    tell(encoder.provenance)
    encoder.save(paths.encoder)
    return encoder


def tell(provenance: "Provenance") -> None:
    """Prints where the weights come from and their licence, and tags the active run of MLflow with it, if any."""
    import mlflow
    from mlflow.exceptions import MlflowException

    print(provenance.notice, flush=True)
    if mlflow.active_run() is None:
        return
    try:
        mlflow.set_tags(provenance.tags())
    except MlflowException as error:  # the folder says it too, and a server that is away stops no stage
        print(f"MLflow was not told the licence of the encoder: {in_a_line(error)}", flush=True)


if __name__ == "__main__":
    main("encoder", run)
