"""BabyAI: missions, held-out combinations, what the agent sees."""

import pytest
from environment_contract import EnvironmentContract

from llarp.config import load_params
from llarp.environments.babyai import HELD_OUT, LEVELS
from llarp.environments.babyai_words import REPHRASINGS, parse
from llarp.environments.make import make_environment
from llarp.errors import UserError

pytest.importorskip("minigrid", reason="needs the extra `environments`")


def params_of(pixels=28, height=None):
    params = load_params()
    camera = params.camera.model_copy(update={"width": pixels, "height": height or pixels})
    return params.model_copy(update={"environment": "babyai", "camera": camera})


class TestBabyAI(EnvironmentContract):
    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls):
        return make_environment(params_of())

    def test_splits_keep_what_training_must_not_contain(self, environment):
        train = list(environment.generate("train", 60))
        assert {e.family for e in train} == {"go_to", "pick_up", "put_next_to"}
        assert not any(parse(e.instruction).combinations() & HELD_OUT for e in train)
        assert {e.layout for e in train} == {f"BabyAI-{level.train}-v0" for level in LEVELS}
        others = {split: list(environment.generate(split, 8)) for split in environment.splits if split != "train"}
        assert all(parse(e.instruction).combinations() & HELD_OUT for e in others["novel_objects"])
        assert not {e.layout for e in others["new_scenes"]} & {e.layout for e in train}
        for episode in others["rephrasing"]:
            assert not episode.instruction.startswith(("go to", "pick up", "put"))

    def test_walking_into_a_wall_is_invalid(self, environment):
        simulator = environment.simulator()
        simulator.reset(next(environment.generate("train", 1)))
        valid = [simulator.apply("go forward") for _ in range(12)]
        assert not valid[-1] and valid == sorted(valid, reverse=True)

    def test_no_two_cells_of_the_view_are_cut(self):
        for camera in (params_of(30), params_of(28, 35)):
            with pytest.raises(UserError, match="camera: .* pixels for a view of 7 x 7 cells"):
                make_environment(camera).simulator()


def test_missions_are_taken_apart_and_said_in_other_words():
    mission = parse("put the red ball next to a green key")
    assert mission.family == "put_next_to" and mission.slots == {"x": "the red ball", "y": "a green key"}
    assert mission.combinations() == {("red", "ball"), ("green", "key")}
    assert parse("go to a key").combinations() == set()
    said = {mission.rephrased(number) for number in range(len(REPHRASINGS["put_next_to"]))}
    assert len(said) == 3 and all("the red ball" in text and "a green key" in text for text in said)
    with pytest.raises(ValueError, match="unknown form"):
        parse("dance")
