"""How fast views are drawn with nothing cached: `python benchmarks/drawing.py`, with `--json` as one JSON object.

Steps of episodes with all their objects: half of the skills walk somewhere, the others are random, valid or not; after
each the reward is counted and the view is drawn. Every process starts with no picture and no compiled house. Seconds
depend on the machine, and on what else runs on it; ratios are of the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context

import numpy as np

EPISODES, STEPS, REPEATS, REFERENCE_VIEWS = 40, 32, 3, 48
FIRST_PICTURE = (
    "from llarp.config import load_params; from llarp.scenes.layout import Pose;"
    "from llarp.sim.drawing.painter import painter; import time; start = time.perf_counter();"
    "painter(load_params().camera).draw(None, Pose(0, 0, 0), held=('013_apple', 0));"
    "print(time.perf_counter() - start)"
)


def episodes(count: int, seed: int = 0) -> list:
    """Generated episodes; as many objects each as params.yaml says."""
    from llarp.config import load_params
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate

    params = load_params()
    return list(generate("train", count, params.seed + seed, params.episodes, world=RuleWorld()))


def play(simulator, played: list, seed: int) -> Iterator[None]:
    """Plays all episodes, each for STEPS steps; yields after every step, when the reward is counted."""
    from llarp.config import load_params
    from llarp.sim.rewards import Progress
    from llarp.tasks.skills import SKILLS

    rng, reward = np.random.default_rng(seed), load_params().reward
    walks = [skill for skill in SKILLS if skill.verb == "nav"]
    for episode in played:
        simulator.reset(episode)
        progress = Progress(simulator, reward)
        for _ in range(STEPS):
            skills = walks if rng.random() < 0.5 else SKILLS
            progress.step(simulator.apply(skills[rng.integers(len(skills))]))
            yield


def one_process(seed: int, barrier) -> tuple[int, float, float]:
    """Steps, wall seconds and CPU seconds of one process that draws after every step."""
    from llarp.config import load_params
    from llarp.scenes.layout import Pose
    from llarp.sim.embedded import EmbeddedSimulator

    played = episodes(EPISODES, seed)
    simulator = EmbeddedSimulator(load_params().camera)
    simulator.painter.draw(None, Pose(0, 0, 0))  # loads the compiled code
    barrier.wait()
    start, cpu = time.perf_counter(), time.process_time()
    steps = 0
    for _ in play(simulator, played, seed):
        simulator.render()
        steps += 1
    return steps, time.perf_counter() - start, time.process_time() - cpu


def steps_per_s(processes: int) -> tuple[float, float]:
    """Steps per second of several processes together, by the clock and by CPU time; medians of REPEATS runs."""
    runs = []
    for repeat in range(REPEATS):
        with get_context("spawn").Manager() as manager, get_context("spawn").Pool(processes) as pool:
            barrier = manager.Barrier(processes)
            jobs = [(repeat * processes + number, barrier) for number in range(processes)]
            done = pool.starmap(one_process, jobs, chunksize=1)
        steps = sum(count for count, _, _ in done)
        runs.append((steps / max(wall for _, wall, _ in done), sum(count / cpu for count, _, cpu in done)))
    return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs)


def first_picture_s(processes: int, cache: str) -> float:
    """Seconds to the first picture of the slowest of several processes started at once; numba keeps code in `cache`."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    started = [
        subprocess.Popen([sys.executable, "-c", FIRST_PICTURE], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a process drew nothing")
    return max(map(float, answers))


def microseconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of several runs: what the work takes when nothing else runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def parts() -> dict[str, float]:
    """Means over views of what `one_view` measures."""
    from llarp.config import load_params
    from llarp.sim.embedded import EmbeddedSimulator

    simulator = EmbeddedSimulator(load_params().camera)
    steps = enumerate(play(simulator, episodes(REFERENCE_VIEWS), 0))
    rows = [one_view(simulator) for number, _ in steps if number % STEPS == STEPS // 2]
    figures = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    figures |= {name: min(row[name] for row in rows) for name in rows[0] if name.endswith("_in_scene")}
    figures["mujoco_rays_over_draw"] = figures["mujoco_us"] / figures["draw_us"]
    return figures


def one_view(simulator) -> dict[str, float]:
    """Where the time of a picture goes, what is in the scene, and what MuJoCo's rays take for the same view."""
    from llarp.sim.drawing.camera import turn
    from llarp.sim.drawing.raycast import BOX, FAR_M, NOTHING, PLANE, first_hits, half_extents, pixel_box
    from llarp.sim.drawing.shading import LIGHT, shade

    painter, pose, layout, view = simulator.painter, simulator.pose, simulator.layout, simulator.view()
    camera, seen = painter.camera, (layout, pose, view.joints, view.placements, view.held)
    focal, shape = camera.focal, (camera.height, camera.width)
    image = np.empty((*shape, 3), np.uint8)
    solids, albedo, first_held, depth, face = painter.cast(*seen)
    light = camera.view(pose) @ LIGHT

    def cast() -> None:
        depth, face = np.full(shape, FAR_M, np.float32), np.full(shape, NOTHING, np.int32)
        first_hits(solids, 0, len(solids.kind), focal, depth, face)

    tests = {True: 0, False: 0}
    for kind, size, at, axes in zip(*solids, strict=True):
        top, bottom, left, right = pixel_box(half_extents(kind, size), at, axes, focal, *shape)
        tests[kind in (BOX, PLANE)] += max(bottom - top, 0) * max(right - left, 0)
    body = everything(layout, view.joints, view.placements)
    eye, rays = camera.eye_at(pose), unit_rays(camera) @ turn(pose.heading).T
    scene = simulator.episode.objects
    return {
        "draw_us": microseconds(lambda: painter.draw(*seen)),
        "gather_and_cast_us": microseconds(lambda: painter.cast(*seen)),
        "cast_us": microseconds(cast),
        "shade_us": microseconds(lambda: shade(solids, albedo, first_held, light, light, focal, depth, face, image)),
        "mujoco_us": microseconds(lambda: mujoco_rays(body, eye, rays), 3),
        "box_tests_per_pixel": tests[True] / face.size,
        "curved_tests_per_pixel": tests[False] / face.size,
        "objects_in_scene": len(scene),
        "bodies_in_scene": bodies_of(layout, scene),
        "bodies_given_to_the_camera": len(solids.kind),
    }


def bodies_of(layout, objects) -> int:
    """How many solid bodies the furniture and the objects of an episode consist of."""
    from llarp.sim.drawing.forms import FORMS
    from llarp.sim.drawing.looks import look

    furniture = everything(layout, (), ()).model.ngeom
    return furniture + sum(len(FORMS[look(entry.asset, entry.variant).form]) for entry in objects)


def everything(layout, joints, placements):
    """One MuJoCo model of a whole scene."""
    import dataclasses

    from llarp.sim.drawing.bodies import Body, add_solids
    from llarp.sim.drawing.forms import FORMS
    from llarp.sim.drawing.house import build
    from llarp.sim.drawing.looks import look

    spec = build(layout)
    for placement in placements:
        seen = look(placement.asset, placement.variant)
        body = spec.worldbody.add_body(
            pos=placement[2:5], quat=[np.cos(placement.yaw / 2), 0, 0, np.sin(placement.yaw / 2)]
        )
        add_solids(body, [
            dataclasses.replace(
                solid, size=tuple(seen.scale * np.array(solid.size)), at=tuple(seen.scale * np.array(solid.at))
            )
            for solid in FORMS[seen.form]
        ])  # fmt: skip
    body = Body(spec)
    body.move(dict(joints))
    return body


def unit_rays(camera) -> np.ndarray:
    """float64[H * W, 3] one ray per pixel, in the robot's frame."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    x, y = (columns - camera.width / 2) / camera.focal, (rows - camera.height / 2) / camera.focal
    rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ camera.axes
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def mujoco_rays(body, eye: np.ndarray, rays: np.ndarray) -> None:
    """Casts every ray at everything by mj_multiRay."""
    import mujoco

    from llarp.sim.drawing.raycast import FAR_M

    count = len(rays)
    geom, distance, normal = np.empty(count, np.int32), np.empty(count), np.zeros(3 * count)
    mujoco.mj_multiRay(body.model, body.data, eye, rays.reshape(-1), None, 1, -1, geom, distance, normal, count, FAR_M)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        figures["first_picture_fresh_clone_s"] = first_picture_s(2, cache)
        figures["first_picture_later_s"] = first_picture_s(2, cache)
    for processes, name in ((1, "one_process"), (2, "two_processes")):
        wall, cpu = steps_per_s(processes)
        figures[f"steps_per_s_{name}"] = wall
        figures[f"steps_per_cpu_s_{name}"] = cpu
    figures |= parts()
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:<34}{value:>12,.2f}")


if __name__ == "__main__":
    main()
