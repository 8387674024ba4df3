"""The expert's advice: its own demonstration when it is followed, and a way to the goal after anything else."""

import random
from dataclasses import replace

import pytest
from homemade import episode, lying

from llarp.config import EpisodesConfig
from llarp.sim.rules import RuleWorld
from llarp.tasks.advice import ExpertAdvice
from llarp.tasks.episode import HORIZON
from llarp.tasks.families import TRAINING
from llarp.tasks.generator import generate
from llarp.tasks.goals import satisfied
from llarp.tasks.robot import SEARCH_ORDER
from llarp.tasks.skills import SKILLS, Skill, parse

CONFIG = EpisodesConfig(train=1, per_split=1, layouts=20, objects=34, workers=1)
MOVE_APPLE = "EXISTS X:apple AND(on_top(X, tv_stand), not_holding())"
_made = {}


def episodes(split, count=120):
    if split not in _made:
        _made[split] = list(generate(split, count, 7, CONFIG, world=RuleWorld()))
    return _made[split]


class Play:
    """One episode, its advice, and what has been done."""

    def __init__(self, task):
        self.world, self.done = RuleWorld(), []
        self.world.reset(task)
        self.advice = ExpertAdvice(self.world)

    def do(self, *skills):
        for skill in skills:
            self.advice.note(skill, self.world.apply(skill))
            self.done.append(skill)

    @property
    def reached(self):
        return satisfied(self.world.episode.goal, self.world)

    def follow(self):
        """What the advice leads to until the goal holds, the horizon comes, or there is no advice."""
        first = len(self.done)
        while self.advice.action is not None and not self.reached and len(self.done) < HORIZON:
            self.do(self.advice.action)
        return tuple(self.done[first:])


def told(task, *skills):
    """The texts of what is advised after some skills."""
    play = Play(task)
    play.do(*map(parse, skills))
    return " ".join(map(str, play.follow()))


@pytest.mark.parametrize("split", ["train", "multiple_objects", "multiple_rearrangements", "conditional"])
def test_who_follows_it_from_the_start_demonstrates(split):
    for task in episodes(split):
        play = Play(task)
        assert play.follow() == task.demonstration and play.reached
        assert len(play.done) == len(task.demonstration)


def test_it_stays_the_same_when_the_expert_thinks_again_at_every_step():
    assert {task.family for task in episodes("train")} == set(TRAINING)
    for task in episodes("train"):
        play = Play(task)
        for skill in task.demonstration:
            assert play.advice.action == skill
            play.advice.action = None  # as if the skill had been somebody else's
            play.do(skill)


@pytest.mark.parametrize("split", ["train", "multiple_objects", "conditional"])
@pytest.mark.parametrize("only_valid", [False, True])
def test_it_leads_to_the_goal_after_any_start(split, only_valid):
    """All of some 5,000 do, in the training families; several of a kind may take longer than the horizon."""
    tried = reached = 0
    for number, task in enumerate(episodes(split)):
        for count in (1, 4, 10):
            play, rng = Play(task), random.Random(1000 * number + count)
            for _ in range(count):
                choices = [skill for skill in SKILLS if play.world.is_valid(skill)] if only_valid else SKILLS
                if not play.reached:
                    play.do(rng.choice(choices))
            if not play.reached:
                play.follow()
                tried, reached = tried + 1, reached + play.reached
    assert tried > 250
    assert reached == tried if split != "multiple_objects" else reached > 0.98 * tried


APPLE = lying("013_apple:0", "apple", "sofa")
PEAR = lying("016_pear:0", "pear", "sink")
LOOKED_FOR = episode(MOVE_APPLE, APPLE, PEAR, family="move_to")
LOCATED = episode(MOVE_APPLE, APPLE, PEAR)


def test_an_invalid_skill_changes_no_advice():
    play = Play(LOOKED_FOR)
    play.do(Skill("pick", "apple"), Skill("close_fridge"))
    assert play.follow() == Play(LOOKED_FOR).follow()


def test_where_somebody_has_looked_is_not_looked_again():
    expected = [f"nav({stop})" for stop in SEARCH_ORDER if stop not in ("black_table", "sink", "tv_stand")]
    found = told(LOOKED_FOR, "nav(black_table)", "nav(sink)", "nav(fridge)").split()
    assert found == [*expected, "pick(apple)", "nav(tv_stand)", "place(tv_stand)"]


def test_what_was_seen_in_passing_is_remembered():
    expected = "nav(sofa) pick(apple) nav(tv_stand) place(tv_stand)"
    assert told(LOOKED_FOR, "nav(sofa)", "nav(sink)") == expected


def test_it_depends_on_nothing_that_was_not_seen():
    """Wherever the apple is: until somebody has stood before it, the advice is the same."""
    rng = random.Random(3)
    for _ in range(30):
        skills = [
            Skill("nav", rng.choice(SEARCH_ORDER)) if rng.random() < 0.7 else rng.choice(SKILLS) for _ in range(6)
        ]
        plays = {
            place: Play(episode(MOVE_APPLE, lying("013_apple:0", "apple", place), PEAR, family="move_to"))
            for place in SEARCH_ORDER
            if place != "tv_stand"
        }
        for skill in skills:
            if skill == Skill("pick", "apple"):
                continue
            for play in plays.values():
                play.do(skill)
            plays = {place: play for place, play in plays.items() if play.world.at != place}
            assert len({play.advice.action for play in plays.values()}) <= 1


@pytest.mark.parametrize("task", [LOOKED_FOR, LOCATED])
def test_the_wrong_object_is_put_away_first(task):
    assert told(task, "nav(sink)", "pick(pear)").startswith("nav(sofa) place(sofa)")


def test_a_wrong_object_does_not_matter_to_who_only_looks():
    task = replace(LOOKED_FOR, goal=episode("EXISTS X:apple AND(robot_at_obj(X))").goal, family="find")
    assert told(task, "nav(sink)", "pick(pear)") == " ".join(f"nav({stop})" for stop in SEARCH_ORDER[1:])


@pytest.mark.parametrize("task", [LOOKED_FOR, LOCATED])
@pytest.mark.parametrize("picked", [(), ("nav(black_table)",)])
def test_what_somebody_has_shut_away_is_taken_out_again(task, picked):
    hidden = ("nav(sofa)", "pick(apple)", "nav(fridge_handle)", "open_fridge()", "place(fridge)", "close_fridge()")
    found = told(task, *hidden, *picked).split()
    assert found[-3:] == ["pick(apple)", "nav(tv_stand)", "place(tv_stand)"]
    assert found.index("open_fridge()") < found.index("pick(apple)")


def test_a_door_that_decides_is_set_right_again():
    goal = "EXISTS X:apple AND(opened_fridge(fridge_handle), on_top(X, tv_stand), not_holding())"
    task = episode(goal, APPLE, family="conditional", start=["opened_fridge(fridge_handle)"])
    assert told(task, "nav(fridge_handle)", "close_fridge()").endswith("nav(fridge_handle) open_fridge()")


@pytest.mark.parametrize(
    "task",
    [
        episode("EXISTS X:apple AND(on_top(X, sofa))", APPLE),
        episode("EXISTS X:plum AND(on_top(X, sofa))", APPLE),
        episode(MOVE_APPLE, lying("013_apple:0", "apple", "sofa", u=-9)),
    ],
    ids=["holds already", "not there", "out of reach"],
)
def test_there_may_be_none(task):
    play = Play(task)
    play.follow()
    assert play.advice.action is None
    play.do(Skill("nav", "sink"), Skill("nav", "sofa"))
    assert play.advice.action is None
