"""The embedded simulator keeps the contract, and draws only when asked."""

from dataclasses import replace

import pytest
from sim_episodes import make_episode
from simulator_contract import SimulatorContract

from llarp.config import CameraConfig, load_params
from llarp.scenes.layouts import layout
from llarp.sim.drawing.painter import Painter
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.skills import Skill

CAMERA = load_params().camera


class TestEmbeddedSimulator(SimulatorContract):
    @pytest.fixture
    def simulator(self):
        return EmbeddedSimulator(CAMERA)


def test_keys_cost_no_rays(monkeypatch):
    monkeypatch.setattr(Painter, "draw", lambda *_: pytest.fail("drawn"))
    simulator = EmbeddedSimulator(CAMERA)
    simulator.reset(make_episode())
    keys = set()
    for target in ("sofa", "sink", "fridge"):
        simulator.apply(Skill("nav", target))
        keys.add(simulator.view_key())
    assert len(keys) == 3


def test_keys_tell_apart_what_images_show():
    """Camera, variant, place and layout are part of the key; what is out of sight is not."""
    episode = make_episode(1)
    shown = next(index for index, entry in enumerate(episode.objects) if entry.receptacle == "tv_stand")
    entry = episode.objects[shown]

    def key(changed=None, camera=CAMERA, start=episode):
        objects = list(start.objects)
        if changed is not None:
            objects[shown] = changed
        simulator = EmbeddedSimulator(camera)
        simulator.reset(replace(start, objects=tuple(objects)))
        simulator.apply(Skill("nav", "tv_stand"))
        return simulator.view_key()

    x, y, z = entry.position
    keys = [
        key(),
        key(replace(entry, variant=(entry.variant + 1) % 12)),
        key(replace(entry, position=(x + 0.01, y, z))),
        key(replace(entry, quaternion=(1.0, 0.0, 0.0, 0.0))),
        key(camera=CameraConfig(**{**CAMERA.model_dump(), "tilt_deg": CAMERA.tilt_deg + 1})),
        key(start=make_episode(1, "gen_train_0001")),
    ]
    assert len(set(keys)) == len(keys)
    assert key(replace(entry, name="another:0")) == keys[0], "names are not seen"
    fridge = layout(episode.layout).surfaces["fridge"].center
    enclosed = [key(replace(entry, receptacle="fridge", variant=variant, position=fridge)) for variant in (0, 1)]
    assert enclosed[0] == enclosed[1], "inside the closed fridge"
