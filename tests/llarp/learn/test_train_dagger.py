"""Training with DAgger: the learner learns what no demonstration shows, and goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest
from toy_training import PARAMS, Interrupted, changed, run
from toy_world import ToyEnvironment, toy_views

from llarp.evaluate.runner import evaluate
from llarp.policy.llarp import LLaRPPolicy

DAGGER = changed(train={"dagger_rounds": 2, "dagger_episodes": 40, "dagger_epochs": 8.0, "epochs": 1.0})


def success(out):
    environment = ToyEnvironment(PARAMS)
    rows = evaluate(LLaRPPolicy.load(out), "policy", environment.episodes(), toy_views(), environment, 25)
    return np.mean([row["success"] for row in rows])


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    out = tmp_path_factory.mktemp("dagger") / "policy"
    run(out, params=DAGGER)
    return out


def test_it_learns_what_the_demonstrations_do_not_show(corrected, tmp_path):
    run(tmp_path / "cloned", params=changed(train={"epochs": 1.0}))
    assert success(tmp_path / "cloned") < 0.3 < 0.7 < success(corrected)
    assert list(Path(f"{corrected}.checkpoints").iterdir()) == []


def test_after_an_interruption_in_a_round_it_ends_with_the_same_weights(corrected, tmp_path):
    out, before = tmp_path / "policy", (corrected / "adapters.safetensors").read_bytes()
    seen = []

    def stop():
        seen.append(1)
        if len(seen) == 3:  # in the first round's cloning: the one before it has fewer than 10 steps
            raise Interrupted

    with pytest.raises(Interrupted):
        run(out, stop_after=20, params=DAGGER, stop=stop)
    assert sorted(path.name for path in Path(f"{out}.checkpoints").iterdir()) == ["bc", "dagger1"]
    run(out, params=DAGGER)
    assert (out / "adapters.safetensors").read_bytes() == before
