"""Scenes exported once, and the stand-in in habitat-sim's place."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

LAYOUTS = ("gen_train_0000", "gen_train_0002")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Configuration file of the exported layouts, with the objects of the episodes that the contract plays."""
    from sim_episodes import inside, make_episode

    from llarp.sim.habitat.export import export

    pytest.importorskip("trimesh")
    entries = [entry for seed in range(12) for entry in make_episode(seed).objects] + [inside("sink")]
    looks = sorted({(entry.asset, entry.variant) for entry in entries})
    return export(LAYOUTS, tmp_path_factory.mktemp("export") / "scenes", looks)


@pytest.fixture
def habitat(monkeypatch):
    """The stand-in, wherever `habitat_sim` and `magnum` are imported; no GPU."""
    import stand_in
    import stand_in_magnum

    from llarp.sim.habitat import apartment, library

    monkeypatch.setitem(sys.modules, "habitat_sim", stand_in)
    monkeypatch.setitem(sys.modules, "magnum", stand_in_magnum)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(stand_in.Simulator, "running", 0)
    library.device.cache_clear()
    apartment.apartment.cache_clear()
    yield stand_in
    apartment.apartment.cache_clear()
    library.device.cache_clear()
