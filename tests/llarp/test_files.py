"""Files appear whole or not at all."""

import hashlib

import pytest

from llarp.errors import UserError
from llarp.files import file_aside, folder_aside, sha256


def test_a_file_appears_when_the_block_ends_well(tmp_path):
    with file_aside(tmp_path / "deep" / "a.txt") as path:
        path.write_text("whole")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), file_aside(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("one", "two"):
        with folder_aside(tmp_path / "out") as folder:
            (folder / content).write_text(content)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with folder_aside(tmp_path / "out") as folder:
        (folder / "one").write_text("one")
    with pytest.raises(RuntimeError), folder_aside(tmp_path / "out") as folder:
        (folder / "two").write_text("half")
        raise RuntimeError
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_unwritable_place_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write here"), file_aside(tmp_path / "file" / "a.txt"):
        pass


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
