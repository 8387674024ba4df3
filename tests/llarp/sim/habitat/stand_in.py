"""A stand-in for habitat_sim made from its documentation: only what is documented, of the documented types.

It reads scene data sets as habitat-sim does (names by substring, paths relative to the file, refusing keys that are not
documented) and draws them by casting rays. Attributes that do not exist raise, lists where a vector is wanted raise.
"""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import stand_in_drawing as drawing
from scipy.spatial.transform import Rotation
from stand_in_magnum import Quaternion, Range3D, Vector2i, Vector3

NUMBER = (int, float)
KEYS = {
    "scene_dataset_config": {
        "stages", "objects", "articulated_objects", "light_setups", "scene_instances", "navmesh_instances",
        "semantic_scene_descriptor_instances", "user_defined",
    },
    "scene_instance": {
        "stage_instance", "object_instances", "articulated_object_instances", "default_lighting", "navmesh_instance",
        "semantic_scene_instance", "user_defined",
    },
    "stage_config": {
        "render_asset", "collision_asset", "semantic_asset", "nav_asset", "semantic_descriptor_filename", "up", "front",
        "semantic_up", "semantic_front", "origin", "scale", "gravity", "is_collidable", "force_flat_shading",
        "shader_type", "margin", "friction_coefficient", "restitution_coefficient", "units_to_meters", "user_defined",
    },
    "object_config": {
        "render_asset", "collision_asset", "collision_asset_size", "up", "front", "scale", "is_collidable", "margin",
        "friction_coefficient", "rolling_friction_coefficient", "spinning_friction_coefficient",
        "restitution_coefficient", "units_to_meters", "force_flat_shading", "shader_type", "mass", "inertia", "COM",
        "use_bounding_box_for_collision", "join_collision_meshes", "semantic_id", "user_defined",
    },
    "ao_config": {
        "urdf_filepath", "render_asset", "semantic_id", "uniform_scale", "mass_scale", "shader_type", "render_mode",
        "base_type", "inertia_source", "link_order", "user_defined",
    },
}  # fmt: skip
"""The keys that habitat-sim documents or reads, by kind of file."""


class Strict:
    """Like a class of the bindings: only the attributes it declares, of the types it declares."""

    fields: ClassVar = {}

    def __init__(self):
        for name, (_, value) in self.fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        if name not in self.fields:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        kind = self.fields[name][0]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{type(self).__name__}.{name} = {value!r}: incompatible function arguments, wants {kind}")
        object.__setattr__(self, name, value)


class SimulatorConfiguration(Strict):
    fields: ClassVar = {
        "scene_dataset_config_file": (str, "default"), "scene_id": (str, ""), "random_seed": (int, 0),
        "default_agent_id": (int, 0), "gpu_device_id": (int, 0), "allow_sliding": (bool, True),
        "create_renderer": (bool, True), "frustum_culling": (bool, True), "enable_physics": (bool, False),
        "physics_config_file": (str, "./data/default.physics_config.json"),
        "override_scene_light_defaults": (bool, False), "scene_light_setup": (str, "no_lights"),
        "load_semantic_mesh": (bool, False), "requires_textures": (bool, True), "enable_hbao": (bool, False),
    }  # fmt: skip


class SensorType:
    COLOR, DEPTH, SEMANTIC = "color", "depth", "semantic"


class SensorSubType:
    PINHOLE, ORTHOGRAPHIC = "pinhole", "orthographic"


class CameraSensorSpec(Strict):
    fields: ClassVar = {
        "uuid": (str, ""), "sensor_type": (str, SensorType.COLOR), "sensor_subtype": (str, SensorSubType.PINHOLE),
        "position": (Vector3, Vector3(0.0, 1.5, 0.0)), "orientation": (Vector3, Vector3(0.0, 0.0, 0.0)),
        "resolution": (Vector2i, Vector2i(84, 84)), "hfov": (NUMBER, 90.0), "near": (NUMBER, 0.01),
        "far": (NUMBER, 1000.0),
    }  # fmt: skip


class AgentConfiguration(Strict):
    fields: ClassVar = {"height": (NUMBER, 1.5), "radius": (NUMBER, 0.1), "sensor_specifications": (list, []),
              "action_space": (dict, {}), "body_type": (str, "cylinder")}  # fmt: skip


class AgentState(Strict):
    fields: ClassVar = {"position": (np.ndarray, np.zeros(3)),
              "rotation": ((np.ndarray, list), np.array([0.0, 0, 0, 1])),
              "sensor_states": (dict, {})}  # fmt: skip


class NavMeshSettings(Strict):
    fields: ClassVar = {"agent_radius": (NUMBER, 0.1), "agent_height": (NUMBER, 1.5), "cell_size": (NUMBER, 0.05),
              "agent_max_climb": (NUMBER, 0.2), "include_static_objects": (bool, False)}  # fmt: skip

    def set_defaults(self):
        pass


class Configuration:
    def __init__(self, sim_cfg, agents, metadata_mediator=None, enable_batch_renderer=False):
        self.sim_cfg, self.agents, self.metadata_mediator = sim_cfg, agents, metadata_mediator


def read(path):
    """A configuration file, all of whose keys are documented."""
    content = json.loads(Path(path).read_text())
    kind = Path(path).name.split(".")[-2]
    unknown = set(content) - KEYS[kind]
    assert not unknown, f"{path}: keys that habitat-sim does not know: {unknown}"
    return content


class MetadataMediator:
    def __init__(self, configuration):
        assert isinstance(configuration, SimulatorConfiguration)
        config = Path(configuration.scene_dataset_config_file)
        content = read(config)
        self.templates = {}
        endings = {"stages": "stage_config", "objects": "object_config", "articulated_objects": "ao_config",
                   "scene_instances": "scene_instance"}  # fmt: skip
        for kind, ending in endings.items():
            folders = content[kind]["paths"][".json"]
            files = (path for folder in folders for path in sorted((config.parent / folder).glob(f"*.{ending}.json")))
            self.templates[kind] = {str(path): read(path) for path in files}

    def get_scene_handles(self):
        return list(self.templates["scene_instances"])

    def find(self, kind, name):
        """As habitat-sim does: the handle itself, else the first in order that contains the name."""
        found = [handle for handle in sorted(self.templates[kind]) if name in handle]
        assert found, f"no {kind} called {name}"
        return found[0]


class PathFinder:
    nudge = staticmethod(lambda x, y, z: (x, 0.08, z))
    """Where the nav mesh is nearest to a point; tests replace it."""

    def __init__(self):
        self.is_loaded = False

    def snap_point(self, point):
        if not isinstance(point, Vector3):
            raise TypeError(f"snap_point({point!r}): incompatible function arguments")
        return Vector3(*(float(value) for value in self.nudge(*point)))


class MotionType:
    STATIC, KINEMATIC, DYNAMIC = "static", "kinematic", "dynamic"


class ManagedRigidObject(Strict):
    fields: ClassVar = {"translation": (Vector3, Vector3(0.0, 0.0, 0.0)), "motion_type": (str, MotionType.DYNAMIC),
              "rotation": (Quaternion, Quaternion(Vector3(0.0, 0.0, 0.0), 1.0))}  # fmt: skip

    def __init__(self, number, mesh):
        super().__init__()
        points = mesh.corners.reshape(-1, 3)
        low, high = (Vector3(*map(float, side)) for side in (points.min(0), points.max(0)))
        hidden = {
            "object_id": number,
            "mesh": mesh,
            "root_scene_node": SimpleNamespace(cumulative_bb=Range3D(low, high)),
        }
        for name, value in hidden.items():
            object.__setattr__(self, name, value)


class RigidObjectManager:
    def __init__(self, mediator):
        self._mediator, self._objects, self._count = mediator, {}, 0

    def add_object_by_template_handle(self, handle):
        template = self._mediator.templates["objects"].get(handle)
        if template is None:
            return None
        assert template["up"] == [0, 1, 0] and template["front"] == [0, 0, -1] and template["COM"] == [0, 0, 0]
        self._count += 1
        mesh = drawing.load(str(Path(handle).parent / template["render_asset"]))
        self._objects[self._count] = ManagedRigidObject(self._count, mesh)
        return self._objects[self._count]

    def remove_object_by_id(self, object_id, delete_object_node=True, delete_visual_node=True):
        del self._objects[object_id]

    def get_num_objects(self):
        return len(self._objects)

    def placed(self):
        for body in self._objects.values():
            assert body.motion_type == MotionType.KINEMATIC
            turn = Rotation.from_quat([*body.rotation.vector, body.rotation.scalar]).as_matrix()
            yield body.mesh, turn, np.array([*body.translation])


class ObjectAttributesManager:
    def __init__(self, mediator):
        self._objects = mediator.templates["objects"]

    def get_template_handles(self, search_str="", contains=True, sorted=True):
        return [handle for handle in self._objects if search_str.lower() in handle.lower()]

    def load_configs(self, path, save_as_defaults=False):
        new = {str(file): read(file) for file in Path(path).glob("*.object_config.json")}
        self._objects.update(new)
        return list(range(len(new)))


class ManagedArticulatedObject:
    """Links that a root carries by one joint each, read from a URDF."""

    def __init__(self, handle, path, config):
        self.handle = handle
        robot = ET.parse(path).getroot()
        meshes = {link.get("name"): link.find("visual/geometry/mesh") for link in robot.findall("link")}
        self._links, self._joints = ["root"], []
        for joint in robot.findall("joint"):
            child = joint.find("child").get("link")
            self._links.append(child)
            numbers = {key: [float(v) for v in joint.find(tag).get(key).split()]
                       for tag, key in (("origin", "xyz"), ("origin", "rpy"))}  # fmt: skip
            axis = np.array([float(v) for v in joint.find("axis").get("xyz").split()])
            limits = tuple(float(joint.find("limit").get(side)) for side in ("lower", "upper"))
            mesh = drawing.load(str(path.parent / meshes[child].get("filename")))
            self._joints.append((joint.get("type"), numbers["xyz"], numbers["rpy"], axis, limits, mesh))
        self._positions = [0.0] * len(self._joints)

    def get_link_ids(self):
        return list(range(len(self._joints)))

    def get_link_name(self, link_id):
        return self._links[link_id + 1]

    def get_link_joint_pos_offset(self, link_id):
        return link_id

    @property
    def joint_position_limits(self):
        return [joint[4][0] for joint in self._joints], [joint[4][1] for joint in self._joints]

    @property
    def joint_positions(self):
        return list(self._positions)

    @joint_positions.setter
    def joint_positions(self, values):
        if not isinstance(values, list) or not all(isinstance(value, float) for value in values):
            raise TypeError(f"joint_positions = {values!r}: incompatible function arguments")
        assert len(values) == len(self._positions)
        assert all(joint[4][0] <= value <= joint[4][1] for joint, value in zip(self._joints, values, strict=True))
        self._positions = list(values)

    def placed(self):
        for (kind, xyz, rpy, axis, _, mesh), value in zip(self._joints, self._positions, strict=True):
            turn, at = Rotation.from_euler("xyz", rpy).as_matrix(), np.array(xyz)
            if kind == "prismatic":
                at = at + turn @ (axis * value)
            else:
                turn = turn @ Rotation.from_rotvec(axis * value).as_matrix()
            yield mesh, turn, at


class ArticulatedObjectManager:
    def __init__(self):
        self.objects = {}

    def get_objects_by_handle_substring(self, search_str="", contains=True):
        return {handle: body for handle, body in self.objects.items() if search_str in handle}


class Agent:
    def __init__(self):
        self.state = AgentState()

    def set_state(self, state, reset_sensors=True, infer_sensor_states=True, is_initial=False):
        assert isinstance(state, AgentState) and np.isfinite(state.position).all()
        assert abs(np.linalg.norm(state.rotation) - 1) < 1e-5
        self.state = state


class Simulator:
    running = 0
    """Simulators that are open; more than one at a time is not wanted."""

    def __init__(self, config):
        Simulator.running += 1
        self._mediator = config.metadata_mediator or MetadataMediator(config.sim_cfg)
        self._load(config)

    def reconfigure(self, config):
        self._load(config)

    def _load(self, config):
        backend = config.sim_cfg
        assert backend.gpu_device_id == -1, "there is no GPU here: the whole process would end"
        assert backend.enable_physics and json.loads(Path(backend.physics_config_file).read_text())
        self._sensor = config.agents[0].sensor_specifications[0]
        self._agent, self.pathfinder = Agent(), PathFinder()
        scene = self._mediator.templates["scene_instances"][self._mediator.find("scene_instances", backend.scene_id)]
        handle = self._mediator.find("stages", scene["stage_instance"]["template_name"])
        stage = self._mediator.templates["stages"][handle]
        assert stage["up"] == [0, 1, 0] and stage["front"] == [0, 0, -1] and stage["origin"] == [0, 0, 0]
        self._stage = drawing.load(str(Path(handle).parent / stage["render_asset"]))
        self._rigid, self._articulated = RigidObjectManager(self._mediator), ArticulatedObjectManager()
        for instance in scene["articulated_object_instances"]:
            found = self._mediator.find("articulated_objects", instance["template_name"])
            assert instance["translation"] == [0, 0, 0] and instance["rotation"] == [1, 0, 0, 0]
            config = self._mediator.templates["articulated_objects"][found]
            name = Path(found).name.split(".")[0] + "_:0000"
            path = Path(found).parent / config["urdf_filepath"]
            self._articulated.objects[name] = ManagedArticulatedObject(name, path, config)

    def recompute_navmesh(self, pathfinder, navmesh_settings):
        assert isinstance(navmesh_settings, NavMeshSettings)
        pathfinder.is_loaded = True
        return True

    def get_agent(self, agent_id):
        assert agent_id == 0
        return self._agent

    def get_rigid_object_manager(self):
        return self._rigid

    def get_articulated_object_manager(self):
        return self._articulated

    def get_object_template_manager(self):
        return ObjectAttributesManager(self._mediator)

    def get_sensor_observations(self, agent_ids=0):
        placed = [(self._stage, np.eye(3), np.zeros(3)), *self._rigid.placed()]
        for body in self._articulated.objects.values():
            placed += body.placed()
        spec, state = self._sensor, self._agent.state
        base = Rotation.from_quat(state.rotation)
        eye = state.position + base.apply([*spec.position])
        axes = (base * Rotation.from_euler("xyz", [*spec.orientation])).as_matrix()
        return {spec.uuid: drawing.picture(placed, eye, axes, spec.resolution[0], spec.resolution[1], spec.hfov)}

    def close(self, destroy=True):
        Simulator.running -= 1


built_with_bullet = True
agent = SimpleNamespace(AgentConfiguration=AgentConfiguration, AgentState=AgentState, Agent=Agent)
metadata = SimpleNamespace(MetadataMediator=MetadataMediator)
nav = SimpleNamespace(NavMeshSettings=NavMeshSettings, PathFinder=PathFinder)
physics = SimpleNamespace(MotionType=MotionType)
