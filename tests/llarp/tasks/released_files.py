"""Files in the release's format made by hand, and where the real ones are."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

RELEASED = os.environ.get("LLARP_RELEASED")
needs_release = pytest.mark.skipif(not RELEASED, reason="LLARP_RELEASED does not name the folder of released files")

SOFA = "receptacle_aabb_Sofa_frl_apartment_sofa"
SINK = "receptacle_aabb_sink_kitchen_counter"


def released_folder():
    return Path(RELEASED)


def transform(x=-1.9, height=0.43, z=1.2, heading=0.0):
    """A pose of the y-up release, turned by `heading` about the vertical."""
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([[cos, 0, sin, x], [0, 1, 0, height], [-sin, 0, cos, z], [0, 0, 0, 1]], np.float32)


def content():
    """One episode: two apples on the sofa and a pear on the sink, one apple to be moved to the sink."""
    names = [
        "016_pear.object_config.json", "013_apple.object_config.json",
        "013_apple_:0001", "013_apple_:0000", "016_pear_:0000", SOFA, SINK,
    ]  # fmt: skip
    episode = {
        "scene_id": "data/somewhere/v3_sc0_staging_00.scene_instance.json",
        "rigid_objs": np.array([[1, 0], [0, 1], [1, 2]]),
        "name_to_receptacle": np.array([[2, 5], [4, 6], [3, 5]]),
        "instruction": "Bring one apple from the sofa over to the sink",
        "instruct_id": "abc123",
        "sampled_entities": {
            "source_receptacle_name": SOFA, "target_receptacle_name": SINK, "target_object_name": "apple",
        },
        "start_preds": ["opened_fridge(fridge_push_point)"],
        "goal_preds": {
            "expr_type": "AND", "quantifier": "EXISTS", "inputs": [{"name": "X", "expr_type": "apple"}],
            "sub_exprs": [f"on_top(X, {SINK})", "not_holding()"],
        },
        "subgoals": [
            [f"robot_at({SOFA})", "robot_at(013_apple_:0001)"],
            ["holding(013_apple_:0001)", f"robot_at({SOFA})", "robot_at_obj(013_apple_:0001)"],
            [f"on_top(013_apple_:0001,{SINK})", "holding(013_apple_:0001)", f"robot_at({SINK})"],
            [f"on_top(013_apple_:0001,{SINK})", f"robot_at({SINK})"],
        ],
    }  # fmt: skip
    transforms = np.stack([transform(), transform(0.57, 0.73, 6.7), transform(-1.8, 0.43, 1.5, heading=0.5)])
    return {"all_transforms": transforms, "idx_to_name": dict(enumerate(names)), "all_eps": [episode]}


def write(folder, data=None, name="train_validation", protocol=4):
    path = Path(folder) / f"{name}.pickle"
    path.write_bytes(pickle.dumps(content() if data is None else data, protocol))
    return path
