"""One habitat-sim simulator that shows any layout of a scene data set from the robot's head camera.

It keeps no state of an episode: whoever draws says what stands where, so that many episodes share the one simulator
that a process should have. Physics is never stepped; bodies are put where they are and joints to what they are.

API: habitat-sim 0.3.x (https://aihabitat.org/docs/habitat-sim/).
"""

import atexit
import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llarp.config import CameraConfig, SimulatorConfig
from llarp.errors import UserError
from llarp.scenes.furniture import ROBOT_RADIUS
from llarp.scenes.layout import Pose
from llarp.sim.drawing.camera import Camera
from llarp.sim.drawing.painter import HAND_AT, HAND_AXES, Placement
from llarp.sim.habitat.export import object_name
from llarp.sim.habitat.frames import Y_UP, Quaternion, Vector, facing, turned, y_up, z_up
from llarp.sim.habitat.joints import JOINTS, Joint
from llarp.sim.habitat.library import device, load

HEAD_FORWARD_M = 0.16
"""How far Fetch's head camera is before the axis of its base: the joints of its URDF from base to head_camera_link.

Its height is 1.06 m with the torso down and 1.45 m with it up; height, tilt and field of view come from the camera's
configuration, whose default is a little higher (1.55 m).
"""
ROBOT_HEIGHT_M = 1.5
"""Of the cylinder for which the nav mesh is made; its radius is `ROBOT_RADIUS`."""
SNAP_M = 1.0
"""A standing point farther than this from the nav mesh stays where it is."""
FLOOR_M = 0.5
"""So does one whose nearest point of the nav mesh is higher, on a table."""
SENSOR = "head"
PHYSICS = Path(__file__).with_name("llarp.physics_config.json")

Look = tuple[str, int]
"""Asset and variant."""


class Apartment:
    """A simulator of habitat-sim, started when the first layout is entered."""

    def __init__(self, camera: CameraConfig, config: SimulatorConfig) -> None:
        """Args:
        camera: the head camera.
        config: the scene data set, and where further objects are.

        Raises:
            UserError: a path is missing, or habitat-sim is.

        """
        if config.scenes is None:
            raise UserError("no scene data set is named", "simulator.scenes", "see docs/simulators.md")
        self.scenes = _there(config.scenes, "simulator.scenes")
        self.more_objects = None if config.objects is None else _there(config.objects, "simulator.objects")
        self.camera = Camera(camera)
        self._habitat, self._magnum = load()
        self.identity = hashlib.sha256(self.scenes.read_bytes()).hexdigest()
        """Of the data set, for view keys."""
        self._mediator: Any = None
        self._simulator: Any = None
        self._layout: str | None = None
        self._bodies: dict[Look, list[Any]] = {}

    def enter(self, layout: str) -> None:
        """Shows a layout; UserError when the data set has no scene of that name."""
        if layout == self._layout:
            return
        configuration = self._configuration(layout)
        if self._simulator is None:
            self._simulator = self._habitat.Simulator(configuration)
            atexit.register(self.close)  # while the graphics library is still there
        else:
            self._simulator.reconfigure(configuration)
        self._layout, self._bodies = layout, {}
        simulator = self._simulator
        if not simulator.pathfinder.is_loaded:
            settings = self._habitat.nav.NavMeshSettings()
            settings.set_defaults()
            settings.agent_radius, settings.agent_height = ROBOT_RADIUS, ROBOT_HEIGHT_M
            settings.include_static_objects = True
            simulator.recompute_navmesh(simulator.pathfinder, settings)

    def snapped(self, pose: Pose, towards: tuple[float, float] | None) -> Pose:
        """A pose moved to the nearest point of the nav mesh, still looking towards the same point if it is given."""
        pathfinder = self._simulator.pathfinder
        if not pathfinder.is_loaded:
            return pose
        found = pathfinder.snap_point(self._magnum.Vector3(*y_up(pose.x, pose.y, 0.0)))
        x, y, z = z_up(*(float(found[axis]) for axis in range(3)))
        moved = pose.distance(x, y)
        if not (moved <= SNAP_M and abs(z) <= FLOOR_M):  # not a number where there is no such point
            return pose
        if moved < 1e-4:
            return pose
        if towards is None:
            return Pose(x, y, pose.heading)
        before = math.atan2(towards[1] - pose.y, towards[0] - pose.x)
        after = math.atan2(towards[1] - y, towards[0] - x)
        return Pose(x, y, math.remainder(pose.heading + after - before, math.tau))

    def draw(
        self, layout: str, pose: Pose, opened: Collection[str], things: Sequence[Placement], held: Look | None
    ) -> np.ndarray:
        """uint8[H, W, 3] picture of a layout.

        Args:
            layout: its name.
            pose: where the robot stands.
            opened: handles of what stands open.
            things: the objects that lie about and are not shut away.
            held: what the hand holds.

        """
        self.enter(layout)
        self._open(opened)
        self._place(things, pose, held)
        rotation = facing(pose.heading)
        state = self._habitat.agent.AgentState()
        state.position = np.array(y_up(pose.x, pose.y, 0.0))
        state.rotation = np.array([*rotation[1:], rotation[0]])
        self._simulator.get_agent(0).set_state(state)
        picture = np.asarray(self._simulator.get_sensor_observations()[SENSOR])
        return np.array(picture[..., :3], np.uint8)

    def close(self) -> None:
        """Gives the graphics context back; entering a layout starts anew."""
        if self._simulator is not None:
            self._simulator.close()
        self._simulator, self._layout, self._bodies = None, None, {}

    def _configuration(self, layout: str) -> Any:
        habitat, magnum = self._habitat, self._magnum
        backend = habitat.SimulatorConfiguration()
        backend.scene_dataset_config_file = str(self.scenes)
        backend.enable_physics = True
        backend.physics_config_file = str(PHYSICS)
        backend.gpu_device_id = device()
        if self._mediator is None:
            self._mediator = habitat.metadata.MetadataMediator(backend)
        backend.scene_id = self._scene(layout)
        sensor, camera = habitat.CameraSensorSpec(), self.camera
        sensor.uuid = SENSOR
        sensor.sensor_type = habitat.SensorType.COLOR
        sensor.sensor_subtype = habitat.SensorSubType.PINHOLE
        sensor.resolution = magnum.Vector2i(camera.height, camera.width)
        sensor.position = magnum.Vector3(0.0, camera.config.elevation_m, -HEAD_FORWARD_M)
        sensor.orientation = magnum.Vector3(-math.radians(camera.config.tilt_deg), 0.0, 0.0)
        sensor.hfov = 2 * math.degrees(math.atan(camera.width / 2 / camera.focal))
        agent = habitat.agent.AgentConfiguration()
        agent.height, agent.radius = ROBOT_HEIGHT_M, ROBOT_RADIUS
        agent.sensor_specifications = [sensor]
        return habitat.Configuration(backend, [agent], self._mediator)

    def _scene(self, layout: str) -> str:
        """The handle of a layout's scene."""
        handles = {Path(handle).name.split(".")[0]: handle for handle in self._mediator.get_scene_handles()}
        if layout not in handles:
            raise UserError(
                f"has no scene called {layout!r}",
                self.scenes,
                f"llarp simulator export {layout} --out FOLDER makes one",
            )
        return handles[layout]

    def _open(self, opened: Collection[str]) -> None:
        """Puts every joint to where it is: shut, or as far open as it goes."""
        manager = self._simulator.get_articulated_object_manager()
        for name in dict.fromkeys(joint.object for joint in JOINTS.values()):
            found = list(manager.get_objects_by_handle_substring(name).values())
            if not found:
                raise UserError(f"scene {self._layout!r} has no articulated object {name!r}", self.scenes)
            body = found[0]
            positions = list(body.joint_positions)
            links = {body.get_link_name(number): number for number in body.get_link_ids()}
            for handle, joint in JOINTS.items():
                if joint.object == name:
                    at = body.get_link_joint_pos_offset(links[joint.link])
                    positions[at] = _farthest(body, at, joint) if handle in opened else 0.0
            body.joint_positions = positions

    def _place(self, things: Iterable[Placement], pose: Pose, held: Look | None) -> None:
        """Puts exactly these objects into the scene, reusing those that are there."""
        things = list(things)
        wanted = Counter(thing[:2] for thing in things)
        if held is not None:
            wanted[held] += 1
        manager = self._simulator.get_rigid_object_manager()
        for look in [look for look, bodies in self._bodies.items() if len(bodies) > wanted[look]]:
            while len(self._bodies[look]) > wanted[look]:
                manager.remove_object_by_id(self._bodies[look].pop().object_id)
        free = {}
        for look, count in wanted.items():
            bodies = self._bodies.setdefault(look, [])
            while len(bodies) < count:
                bodies.append(self._add(manager, look))
            free[look] = list(bodies)
        for thing in things:
            body = free[thing[:2]].pop()
            low = float(body.root_scene_node.cumulative_bb.min[1])
            x, y, z = y_up(thing.x, thing.y, thing.z)
            self._move(body, (x, y - low, z), turned(thing.yaw))
        if held is not None:
            self._hold(free[held].pop(), pose)

    def _add(self, manager: Any, look: Look) -> Any:
        body = manager.add_object_by_template_handle(self._template(look))
        if body is None:
            raise UserError(f"object {object_name(*look)} cannot be loaded", self.scenes, "check its configuration")
        body.motion_type = self._habitat.physics.MotionType.KINEMATIC
        return body

    def _template(self, look: Look) -> str:
        """The handle of an object's template: one for this variant, else one for its asset."""
        templates = self._simulator.get_object_template_manager()
        for attempt in range(2):
            for name in (object_name(*look), look[0]):
                ending = f"{name}.object_config.json"
                for handle in templates.get_template_handles(ending):
                    if Path(handle).name == ending:
                        return str(handle)
            if attempt == 0 and self.more_objects is not None:
                templates.load_configs(str(self.more_objects))
        raise UserError(
            f"no object is called {look[0]}", self.more_objects or self.scenes, "name the folder in simulator.objects"
        )

    def _hold(self, body: Any, pose: Pose) -> None:
        """Puts an object before the camera, where the embedded simulator draws what the hand holds."""
        from scipy.spatial.transform import Rotation

        camera = self.camera
        axes = Y_UP @ camera.view(pose).T  # columns: the picture's right, down and ahead
        eye = Y_UP @ (camera.eye_at(pose) + HEAD_FORWARD_M * np.array([*_ahead(pose), 0.0]))
        turn = axes @ HAND_AXES @ Y_UP.T
        box = body.root_scene_node.cumulative_bb
        middle = np.array([(float(box.min[i]) + float(box.max[i])) / 2 for i in range(3)])
        x, y, z, w = Rotation.from_matrix(turn).as_quat()
        self._move(body, tuple(eye + axes @ HAND_AT - turn @ middle), (w, x, y, z))

    def _move(self, body: Any, at: Vector, rotation: Quaternion) -> None:
        vector = self._magnum.Vector3
        body.translation = vector(*map(float, at))
        w, x, y, z = map(float, rotation)
        body.rotation = self._magnum.Quaternion(vector(x, y, z), w)


@cache
def apartment(camera: CameraConfig, config: SimulatorConfig) -> Apartment:
    """The one of this process: several simulators of habitat-sim would each hold a graphics context and all assets."""
    return Apartment(camera, config)


def _ahead(pose: Pose) -> tuple[float, float]:
    return math.cos(pose.heading), math.sin(pose.heading)


def _farthest(body: Any, at: int, joint: Joint) -> float:
    """How far a joint opens: to the wider of its limits, but no farther than ours."""
    lower, upper = (float(limits[at]) for limits in body.joint_position_limits)
    return max(lower, -joint.opened) if -lower > upper else min(upper, joint.opened)


def _there(path: str, key: str) -> Path:
    if not Path(path).exists():
        raise UserError(f"{path} does not exist", key, "name what `llarp simulator export` wrote, or ReplicaCAD's")
    return Path(path).resolve()
