"""`llarp dry-run`: what a training would take, before anything is downloaded, allocated or changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.config import Params, VisionConfig


def dry_run(
    preset: Annotated[str | None, typer.Option(help="Take presets/NAME.yaml instead of params.yaml.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With one parameter changed; repeat at will.")
    ] = None,
) -> None:
    """Say what a training would take: parameters, memory of each process, operations. Changes nothing."""
    from llarp.environments.make import family
    from llarp.policy.dry_run import Task
    from llarp.policy.dry_run import dry_run as estimate

    params = _params(preset, set_ or [])
    environment = family(params.environment)
    task = Task(token_shape(params.vision, params.camera.width), len(environment.actions), environment.horizon)
    print("\n".join(estimate(params, task).lines))


def token_shape(config: VisionConfig, pixels: int) -> tuple[int, int]:
    """(visual tokens, width) that an encoder gives of an image of so many pixels each way, without making one."""
    from llarp.vision.named import NAMED

    if config.encoder in NAMED:
        shape = NAMED[config.encoder].shape
        width, units, patches = shape.dim, shape.hidden, shape.grid**2
    elif config.encoder == "mae-tiny":
        width, units, patches = config.dim, config.units, (pixels // config.patch) ** 2
    else:
        from transformers import AutoConfig

        at = {} if config.revision is None else {"revision": config.revision}
        try:
            found: Any = AutoConfig.from_pretrained(
                config.encoder, local_files_only=True, trust_remote_code=False, **at
            )
            width, units = found.hidden_size, found.intermediate_size
            patches = (found.image_size // found.patch_size) ** 2
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UserError(
                f"nothing here says what shape it has: {error}",
                f"vision.encoder={config.encoder}",
                "give a folder of a ViT, or a model of the hub that is in the local cache",
            ) from error
    shapes = {"cls": (1, width), "mean": (1, width), "patches": (patches, width), "units": (1, 2 * units)}
    return shapes[config.output]


def _params(preset: str | None, assignments: list[str]) -> Params:
    """What params.yaml, or a preset, would say with some keys changed; UserError when that is wrong."""
    import yaml

    from llarp.config import load_params, validate
    from pipelines.settings import PRESETS

    path = Path("params.yaml") if preset is None else Path(PRESETS) / f"{preset}.yaml"
    values = load_params(path).model_dump(by_alias=True)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *sections, last = key.strip().split(".")
        place: Any = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict):
            raise UserError("is no parameter with a value", f"--set {assignment}", "write --set key=value")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError("its value is no YAML", f"--set {assignment}", "quote it") from None
    return validate(values, path)
