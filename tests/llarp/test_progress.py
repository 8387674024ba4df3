"""Progress for a parent process, and silence without a terminal."""

import json

from llarp.progress import PREFIX, track


def test_lines_tell_the_parent_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setenv("LLARP_PROGRESS", "lines")
    assert list(track([1, 2, 3], "count", unit="number")) == [1, 2, 3]
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(PREFIX) for line in lines)
    states = [json.loads(line.removeprefix(PREFIX)) for line in lines]
    assert states[0] == {"what": "count", "done": 0, "total": 3, "unit": "number"}
    assert states[-1]["done"] == 3


def test_nothing_is_printed_without_a_terminal(monkeypatch, capsys):
    monkeypatch.delenv("LLARP_PROGRESS", raising=False)
    assert list(track(iter("ab"), "letters", total=2)) == ["a", "b"]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
