"""Overlays of several encoders share one limit; the one that is used stays."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from components.overlay import open_overlay, overlay_folder, overlays
from components.paths import Paths
from llarp.config import load_params

ROWS = 100
BYTES = ROWS * (2 * 8 * 16 + 16)
"""Of a filled overlay, headers aside."""


def encoder(digit):
    return SimpleNamespace(identity=digit * 64, num_tokens=8, dim=16)


@pytest.fixture
def params(request):
    return load_params(request.config.rootpath / "presets" / "test.yaml")


def limited(params, num_bytes):
    features = params.features.model_copy(update={"overlay_gib": num_bytes / 2**30})
    return params.model_copy(update={"features": features})


@pytest.fixture
def paths(tmp_path, params):
    """Overlays of the encoders 1, 2 and 3, written to in the order 2, 1, 3."""
    paths, rng = Paths(tmp_path), np.random.default_rng(0)
    for when, digit in enumerate("213"):
        with open_overlay(params, paths, encoder(digit)) as overlay:
            overlay.add([rng.bytes(16) for _ in range(ROWS)], rng.normal(size=(ROWS, 8, 16)))
        os.utime(overlay_folder(paths, encoder(digit).identity), (1000 + when, 1000 + when))
    return paths


def kept(paths):
    return [folder.name[0] for folder in overlays(paths)]


def test_while_there_is_room_all_stay(params, paths):
    with open_overlay(limited(params, 3.2 * BYTES), paths, encoder("4")) as overlay:
        assert len(overlay) == 0
    assert kept(paths) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(("room", "left"), [(2.5, "13"), (1.5, "3"), (0.5, "")])
def test_those_that_were_written_to_longest_ago_go_first(params, paths, room, left):
    open_overlay(limited(params, room * BYTES), paths, encoder("4")).close()
    assert kept(paths) == [*left, "4"]


def test_the_one_that_is_opened_stays_though_it_is_the_oldest(params, paths):
    with open_overlay(limited(params, 1.2 * BYTES), paths, encoder("2")) as overlay:
        assert len(overlay) == ROWS
    assert kept(paths) == ["2"]


def test_one_that_alone_is_too_large_forgets_views_when_it_is_closed(params, paths):
    with open_overlay(limited(params, 0.8 * BYTES), paths, encoder("3")) as overlay:
        assert len(overlay) == ROWS
    assert 0 < len(overlay) < ROWS and overlay.num_bytes <= 0.8 * BYTES
    assert kept(paths) == ["3"]


def test_what_another_rank_removes_meanwhile_is_no_error(params, paths, monkeypatch):
    glob = type(paths.root).glob

    def removed_on_the_way(folder, pattern):
        found = list(glob(folder, pattern))
        if folder.name.startswith("1"):
            shutil.rmtree(folder, ignore_errors=True)
        return found

    monkeypatch.setattr(type(paths.root), "glob", removed_on_the_way)
    open_overlay(limited(params, 2.5 * BYTES), paths, encoder("3")).close()
    assert kept(paths) == ["2", "3"]


def test_other_files_beside_the_overlays_are_left_alone(params, paths):
    (paths.overlays / "notes.txt").write_text("mine")
    (paths.overlays / "mine").mkdir()
    open_overlay(limited(params, 0.5 * BYTES), paths, encoder("4")).close()
    assert kept(paths) == ["4"]
    assert (paths.overlays / "notes.txt").exists() and (paths.overlays / "mine").exists()
