"""Sessions: the answers of reading every episode anew, one frame a step, whatever other sessions do meanwhile."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from agents import INSTRUCTIONS, images

from llarp.errors import UserError
from llarp.serving import SessionEndedError
from llarp.serving.agent import _Task

T = 12


def read_anew(agent, instruction, seen):
    """The last action of an episode that is read from its beginning."""
    state, actions = agent.policy.start([_Task(instruction)]), [0]
    for features in agent.encoder.encode(seen).astype(np.float16):
        actions, state = agent.policy.act(features[None], state, np.ones(1, bool))
    return agent.actions[actions[0]]


def alone(agent, number):
    with agent.start(INSTRUCTIONS[number]) as session:
        return [session.act(image) for image in images(T, number)]


def test_a_step_answers_as_if_the_episode_were_read_anew(agent):
    seen = images(T, 1)
    answers = alone(agent, 1)
    assert answers == [read_anew(agent, INSTRUCTIONS[1], seen[: step + 1]) for step in range(T)]
    assert len(set(answers)) > 2


@pytest.fixture
def logits(agent, monkeypatch):
    """float32[A] of every step: they tell apart what the names of the most probable actions do not."""
    noted, read = [], agent.policy.read

    def noting(features, *rest):
        assert len(features) == 1, "a step reads one frame"
        found = read(features, *rest)
        noted.append(found[0][0].tolist())
        return found

    monkeypatch.setattr(agent.policy, "read", noting)
    return noted


def test_what_was_seen_before_matters(agent, logits):
    for number in range(3):
        with agent.start(INSTRUCTIONS[0]) as session:
            session.act(images(1, number)[0])
            session.act(images(1, 9)[0])
    assert logits[1] != logits[3] != logits[5]


def test_interleaved_sessions_answer_as_one_by_one(agent, logits):
    for number in range(3):
        alone(agent, number)
    expected = [logits[:T], logits[T : 2 * T], logits[2 * T :]]
    sessions = [agent.start(text) for text in INSTRUCTIONS]
    seen, answers = [images(T, number) for number in range(3)], [[], [], []]
    for step in range(T):
        for number in np.random.default_rng(step).permutation(3):
            sessions[number].act(seen[number][step])
            answers[number].append(logits[-1])
    assert answers == expected


def test_threads_share_an_agent(agent):
    expected = [alone(agent, number) for number in range(3)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda number: alone(agent, number), [0, 1, 2] * 4)) == expected * 4


def test_a_session_ends_after_the_steps_of_an_episode(agent):
    session = agent.start("Go")
    for image in images(agent.horizon):
        assert not session.has_ended
        session.act(image)
    assert session.has_ended and session.steps == 32
    with pytest.raises(SessionEndedError, match="has had its 32 steps"):
        session.act(images(1)[0])


def test_closing_frees_what_was_read(agent):
    session = agent.start("Go")
    session.act(images(1)[0])
    cache = weakref.ref(session._state.cache)
    session.close()
    session.close()
    gc.collect()
    assert cache() is None
    with pytest.raises(SessionEndedError, match="was closed"):
        session.act(images(1)[0])


@pytest.mark.parametrize(
    "image", [images(1, edge=33)[0], images(1), images(1)[0, ..., :2], images(1)[0] / 255.0, images(1)[0].astype(int)]
)
def test_another_image_is_refused_and_nothing_is_read(agent, image):
    session = agent.start(INSTRUCTIONS[0])
    with pytest.raises(ValueError, match=r"not uint8\[32, 32, 3\]") as refused:
        session.act(image)
    assert "\n" not in str(refused.value)
    assert [session.act(seen) for seen in images(T)] == alone(agent, 0)


@pytest.mark.parametrize(("text", "message"), [("go " * 100, "longer|tokens"), ("", "empty"), (" \n", "empty")])
def test_instructions_that_no_policy_reads_are_refused_in_one_line(agent, text, message):
    with pytest.raises(UserError, match=message) as refused:
        agent.start(text)
    assert "\n" not in str(refused.value)


def test_a_step_that_fails_leaves_nothing_to_go_on_from(agent, monkeypatch):
    session = agent.start("Go")
    with monkeypatch.context() as patch:
        patch.setattr(agent.policy, "act", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            session.act(images(1)[0])
    assert session.has_ended
    assert alone(agent, 0) == alone(agent, 0), "and nobody is kept waiting"
