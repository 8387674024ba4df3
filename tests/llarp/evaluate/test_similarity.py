import numpy as np
import pytest

from llarp.evaluate import similarity
from llarp.evaluate.similarity import compare, embeddings

VECTORS = {"a": (1, 0), "b": (0, 1), "c": (0.6, 0.8), "d": (0.8, 0.6), "e": (-1, 0)}


def by_hand(jobs):
    return (np.array([VECTORS[text] for text in job], np.float32) for job in jobs)


def test_each_instruction_is_compared_with_its_nearest(monkeypatch):
    monkeypatch.setattr(similarity, "JOB_SENTENCES", 2)
    found = compare(["a", "b", "a"], {"x": ["c", "d", "c"], "y": ["a", "e"]}, 0, by_hand)
    assert (found["x"].mean, found["x"].median, found["x"].distinct, found["x"].training) == (0.8, 0.8, 2, 2)
    assert found["x"].least == ((0.8, "c", "b"), (0.8, "d", "a"))
    assert found["y"].least == ((0.0, "e", "b"), (1.0, "a", "a")) and found["y"].median == 0.5


def test_large_sets_are_sampled_by_the_seed(monkeypatch):
    monkeypatch.setattr(similarity, "MOST_TRAINING", 2)
    monkeypatch.setattr(similarity, "MOST_ASKED", 1)
    found = [compare("abcde", {"x": "edcba"}, seed, by_hand)["x"] for seed in (1, 1, *range(20))]
    assert found[0] == found[1] and len(set(found)) > 1
    assert {(entry.distinct, entry.training) for entry in found} == {(1, 2)}


def test_the_encoder_finds_paraphrases_nearer_than_other_tasks():
    vectors = embeddings(["Put the apple on the sofa.", "Place an apple on the couch.", "Close the fridge door."])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosine = vectors @ vectors.T
    assert cosine[0, 1] > 0.8 > 0.6 > cosine[0, 2]
    alone = embeddings(["Close the fridge door."])
    assert alone @ vectors[2] == pytest.approx(1, abs=1e-5)  # padding changes nothing
