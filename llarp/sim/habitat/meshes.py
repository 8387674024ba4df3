"""MuJoCo's primitives as coloured triangles with y up, written as binary glTF (.glb).

Colours are written as they are displayed: habitat-sim's Phong shader, which the exported configurations ask for, takes
a material's base colour as it stands.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from llarp.errors import UserError
from llarp.sim.drawing.bodies import Body, Colour
from llarp.sim.habitat.frames import Y_UP

SECTIONS = 24
"""Sides of a round primitive."""
FLOOR_M = 0.05
"""Thickness of the floor, below 0."""


class Part(NamedTuple):
    """Triangles of one colour."""

    name: str
    vertices: np.ndarray
    """float64[V, 3] metres, y up."""
    normals: np.ndarray
    """float64[V, 3]."""
    faces: np.ndarray
    """int64[F, 3]."""
    colour: Colour


def trimesh() -> Any:
    """The package that writes glTF; UserError where it is not installed."""
    try:
        import trimesh
    except ImportError as error:
        raise UserError("needs the package trimesh", "export", "pip install 'llarp[export]'") from error
    return trimesh


def parts(body: Body, geoms: Iterable[int], colours: np.ndarray, name: str, scale: float = 1.0) -> list[Part]:
    """The triangles of some primitives as they stand now, one part per colour.

    Args:
        body: compiled.
        geoms: numbers of its primitives.
        colours: float[geoms of the body, 3] RGB in [0, 1].
        name: of the parts, with a number each.
        scale: enlarges them about the origin.

    """
    by_colour: dict[Colour, list[int]] = {}
    for geom in geoms:
        red, green, blue = (float(value) for value in colours[geom])
        by_colour.setdefault((red, green, blue), []).append(geom)
    return [_join(body, same, f"{name}_{n}", colour, scale) for n, (colour, same) in enumerate(by_colour.items())]


def write_glb(path: Path, content: Iterable[Part]) -> None:
    """Writes parts as one glTF file, a node and a material each."""
    package = trimesh()
    scene = package.Scene()
    for part in content:
        material = package.visual.material.PBRMaterial(
            name=part.name, baseColorFactor=[*part.colour, 1.0], metallicFactor=0.0, roughnessFactor=1.0
        )
        mesh = package.Trimesh(part.vertices, part.faces, vertex_normals=part.normals, process=False)
        mesh.visual = package.visual.TextureVisuals(material=material)
        scene.add_geometry(mesh, node_name=part.name, geom_name=part.name)
    path.write_bytes(scene.export(file_type="glb", include_normals=True))


def _join(body: Body, geoms: list[int], name: str, colour: Colour, scale: float) -> Part:
    model, data = body.model, body.data
    vertices, normals, faces, count = [], [], [], 0
    for geom in geoms:
        kind, size = int(model.geom_type[geom]), tuple(float(value) for value in model.geom_size[geom])
        shape = _floor(body) if kind == mujoco.mjtGeom.mjGEOM_PLANE else _primitive(kind, size)
        axes = Y_UP @ data.geom_xmat[geom].reshape(3, 3)
        vertices.append(scale * (shape[0] @ axes.T + Y_UP @ data.geom_xpos[geom]))
        normals.append(shape[1] @ axes.T)
        faces.append(shape[2] + count)
        count += len(shape[0])
    return Part(name, np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces), colour)


def _floor(body: Body) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An endless plane as a slab below all that stands on it."""
    model, data = body.model, body.data
    others = [geom for geom in range(model.ngeom) if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE]
    axes = data.geom_xmat[others].reshape(-1, 3, 3)
    at = data.geom_xpos[others] + np.einsum("gij,gj->gi", axes, model.geom_aabb[others, :3])
    reach = np.einsum("gij,gj->gi", np.abs(axes), model.geom_aabb[others, 3:])
    (left, near, _), (right, far, _) = (at - reach).min(0), (at + reach).max(0)
    vertices, normals, faces = _primitive(
        int(mujoco.mjtGeom.mjGEOM_BOX), ((right - left) / 2, (far - near) / 2, FLOOR_M / 2)
    )
    middle = np.array([(left + right) / 2, (near + far) / 2, -FLOOR_M / 2])
    return vertices + middle, normals, faces


@lru_cache(maxsize=4096)
def _primitive(kind: int, size: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertices, normals, faces) of a primitive in its own frame; edges are sharp, round surfaces smooth."""
    make, geom = trimesh().creation, mujoco.mjtGeom
    if kind == geom.mjGEOM_BOX:
        mesh = make.box(extents=2 * np.array(size))
    elif kind == geom.mjGEOM_CYLINDER:
        mesh = make.cylinder(radius=size[0], height=2 * size[1], sections=SECTIONS)
    elif kind == geom.mjGEOM_CAPSULE:
        mesh = make.capsule(radius=size[0], height=2 * size[1], count=(SECTIONS // 2, SECTIONS))
        mesh.apply_translation(-mesh.bounds.mean(0))
    elif kind in (geom.mjGEOM_SPHERE, geom.mjGEOM_ELLIPSOID):
        mesh = make.icosphere(subdivisions=2)
        mesh.apply_scale(size if kind == geom.mjGEOM_ELLIPSOID else size[0])
    else:
        raise ValueError(f"no triangles for MuJoCo's geometry {kind}")
    if kind in (geom.mjGEOM_BOX, geom.mjGEOM_CYLINDER):
        mesh = mesh.smooth_shaded
    return np.array(mesh.vertices), np.array(mesh.vertex_normals), np.array(mesh.faces)
