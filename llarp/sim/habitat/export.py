"""Writes layouts and objects as a scene data set that habitat-sim opens, y up.

    NAME.scene_dataset_config.json   what there is
    scenes/LAYOUT.scene_instance.json   stage and articulated objects of one layout
    stages/   floor, walls and furniture of a layout: the nav mesh is made from it
    urdf/     the fridge's door and the drawers of a layout
    objects/  every variant of every asset, by the name ASSET-VARIANT

Geometry and colours are read off the compiled MuJoCo models that the embedded simulator draws. File names and keys are
those of habitat-sim's documentation ("Using JSON files to configure attributes").
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from llarp.errors import UserError
from llarp.files import folder_aside
from llarp.progress import Progress
from llarp.scenes.catalog import CATEGORIES, RECEPTACLES
from llarp.scenes.layout import Layout
from llarp.scenes.layouts import layout
from llarp.scenes.variants import NUM_VARIANTS
from llarp.sim.drawing.bodies import Body, form_body
from llarp.sim.drawing.house import build
from llarp.sim.drawing.looks import look
from llarp.sim.drawing.painter import VERSION
from llarp.sim.habitat.frames import turned, y_up
from llarp.sim.habitat.joints import JOINTS
from llarp.sim.habitat.meshes import parts, trimesh, write_glb
from llarp.sim.habitat.urdf import write_urdf

CONFIG = "llarp.scene_dataset_config.json"
ABOVE_M = 0.1
"""Half the height of the boxes in which receptacles hold objects."""
_FRAME = {"up": [0, 1, 0], "front": [0, 0, -1], "units_to_meters": 1.0}
_SHADING = {"shader_type": "phong", "force_flat_shading": False}


def export(layouts: Sequence[str], out: Path, looks: Iterable[tuple[str, int]] | None = None) -> Path:
    """Writes a scene data set, whole or not at all; an earlier one is replaced.

    Args:
        layouts: names of the layouts.
        out: the folder.
        looks: assets and variants of the objects; None: all of the catalogue.

    Returns:
        The data set's configuration file.

    Raises:
        UserError: a layout is unknown, `out` holds something else, or trimesh is not installed.

    """
    if out.exists() and not (out / CONFIG).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("holds something else than an earlier export", out, "name a new or empty folder")
    trimesh()
    rooms = [layout(name) for name in dict.fromkeys(layouts)]
    wanted = list(_catalogue() if looks is None else looks)
    with folder_aside(out) as folder, Progress("exported", len(rooms) + len(wanted), "file") as progress:
        for part in ("scenes", "stages", "urdf", "objects"):
            (folder / part).mkdir()
        _write(folder / CONFIG, _dataset())
        for room in rooms:
            _export_layout(folder, room)
            progress.update()
        for asset, variant in wanted:
            _export_look(folder / "objects", asset, variant)
            progress.update()
    return out / CONFIG


def object_name(asset: str, variant: int) -> str:
    """Of an object's configuration, without its ending."""
    return f"{asset}-{variant}"


def _catalogue() -> Iterator[tuple[str, int]]:
    return ((asset, v) for category in CATEGORIES for asset in category.assets for v in range(NUM_VARIANTS))


def _dataset() -> dict[str, object]:
    kinds = {"stages": "stages", "objects": "objects", "articulated_objects": "urdf", "scene_instances": "scenes"}
    paths = {kind: {"paths": {".json": [folder]}} for kind, folder in kinds.items()}
    return {**paths, "user_defined": {"drawing_version": VERSION}}


def _export_layout(folder: Path, room: Layout) -> None:
    body, name = Body(build(room)), room.name
    model = body.model
    moving = {int(model.body(handle).id) for handle in JOINTS}
    content = []
    for number in set(range(model.nbody)) - moving:
        geoms = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == number]
        content += parts(body, geoms, model.geom_rgba[:, :3], model.body(number).name if number else "floor")
    write_glb(folder / "stages" / f"{name}.glb", content)
    _write(
        folder / "stages" / f"{name}.stage_config.json",
        {"render_asset": f"{name}.glb", **_FRAME, **_SHADING, "origin": [0, 0, 0], "user_defined": _receptacles(room)},
    )
    instances = []
    for object in dict.fromkeys(joint.object for joint in JOINTS.values()):
        own = f"{name}_{object}"
        write_urdf(folder / "urdf", own, object, body)
        _write(
            folder / "urdf" / f"{own}.ao_config.json",
            {"urdf_filepath": f"{own}.urdf", "base_type": "FIXED", "shader_type": "phong"},
        )
        instances.append(
            {
                "template_name": own,
                "fixed_base": True,
                "translation": [0, 0, 0],
                "rotation": [1, 0, 0, 0],
                "motion_type": "KINEMATIC",
            }
        )
    _write(
        folder / "scenes" / f"{name}.scene_instance.json",
        {
            "stage_instance": {"template_name": f"stages/{name}"},
            "default_lighting": "",
            "object_instances": [],
            "articulated_object_instances": instances,
        },
    )


def _receptacles(room: Layout) -> dict[str, object]:
    """Where objects lie, as habitat-lab's receptacles: boxes with the release's handles."""
    boxes: dict[str, object] = {}
    for entry in RECEPTACLES:
        surface = room.surfaces[entry.id]
        x, y, z = surface.center
        boxes[entry.release] = {
            "name": entry.release,
            "parent_object": room.name,
            "position": list(y_up(x, y, z + ABOVE_M)),
            "rotation": list(turned(surface.yaw)),
            "scale": [surface.half[0], ABOVE_M, surface.half[1]],
        }
    return boxes


def _export_look(folder: Path, asset: str, variant: int) -> None:
    seen, name = look(asset, variant), object_name(asset, variant)
    form = form_body(seen.form)
    colours = np.array(seen.colours)[form.paints]
    write_glb(folder / f"{name}.glb", parts(form.body, range(len(form.paints)), colours, "paint", seen.scale))
    physics = {"COM": [0, 0, 0], "mass": 0.5, "use_bounding_box_for_collision": True}
    _write(folder / f"{name}.object_config.json", {"render_asset": f"{name}.glb", **_FRAME, **_SHADING, **physics})


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
