"""Aliases: what a change does, what is on record, and that neither kills nor crowds leave them in disorder."""

import os
import signal
import subprocess
import sys
import time

import pytest
from model_versions import NAME, register, store

from components import aliases
from components.aliases import CANDIDATE, CHAMPION, PREVIOUS
from components.paths import Paths
from llarp.errors import UserError

PROMOTES = """
import sys, time
from mlflow import MlflowClient
from components import aliases
from components.paths import Paths
client, version = MlflowClient(), sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    champion = aliases.current(client, "llarp").get("champion")
    try:
        aliases.promote(Paths(), client, "llarp", version, champion, "in a crowd", who=version)
        break
    except aliases.MovedError:
        continue
else:
    sys.exit("never came through")
"""
DIES = """
import os, signal, sys
from mlflow import MlflowClient
from components import aliases
from components.paths import Paths
client = MlflowClient()
calls = [0]
real = type(client).set_registered_model_alias
def dying(self, *arguments):
    if calls[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    calls[0] += 1
    real(self, *arguments)
type(client).set_registered_model_alias = dying
type(client).set_terminated = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
aliases.promote(Paths(), client, "llarp", sys.argv[2], aliases.current(client, "llarp")["champion"], "cut off")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def client(folder):
    with pytest.MonkeyPatch.context() as patch:
        yield store(patch, folder)


@pytest.fixture
def fresh(client, folder):
    """(client, paths) with no alias and nothing on record."""
    for alias in aliases.current(client, NAME):
        client.delete_registered_model_alias(NAME, alias)
    for entry in aliases.audit(client, NAME, 1000):
        client.delete_run(entry.id)
    return client, Paths(folder)


def start(code, folder, root, *arguments):
    variables = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=variables, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def is_chain(entries):
    """Whether every change begins, for each alias, where the one before has ended; entries come newest first."""
    where = {}
    for entry in reversed(entries):
        for alias, (before, after) in entry.changes.items():
            if where.get(alias) != before:
                return False
            where[alias] = after
    return True


def test_promotions_move_champion_and_previous_and_are_on_record(fresh, monkeypatch):
    client, paths = fresh
    one, two = register(client), register(client)
    monkeypatch.setenv("LLARP_FLOW_RUN", "flow-7")
    aliases.change(paths, client, NAME, {CANDIDATE: one}, "registered", action="register")
    aliases.promote(paths, client, NAME, one, None, "the first")
    assert aliases.current(client, NAME) == {CANDIDATE: one, CHAMPION: one}
    aliases.promote(paths, client, NAME, two, one, "better", who="anna")
    assert aliases.current(client, NAME) == {CANDIDATE: one, CHAMPION: two, PREVIOUS: one}
    entries = aliases.audit(client, NAME)
    assert [(entry.action, entry.who) for entry in entries] == [
        ("promote", "anna"), ("promote", aliases.user()), ("register", aliases.user()),
    ]  # fmt: skip
    assert entries[0].changes == {PREVIOUS: (None, one), CHAMPION: (one, two)}
    assert {(entry.status, entry.flow_run) for entry in entries} == {("FINISHED", "flow-7")}
    assert is_chain(entries) and aliases.strays(client, NAME) == {}
    assert client.get_run(entries[0].id).data.tags["champion"] == f"{one} -> {two}"
    assert len(aliases.audit(client, NAME, 1)) == 1


def test_a_champion_that_moved_meanwhile_stops_a_promotion(fresh):
    client, paths = fresh
    one, two = register(client), register(client)
    aliases.promote(paths, client, NAME, one, None, "the first")
    with pytest.raises(aliases.MovedError):
        aliases.promote(paths, client, NAME, two, None, "decided when there was none")
    assert aliases.current(client, NAME) == {CHAMPION: one} and len(aliases.audit(client, NAME)) == 1


def test_rollback_swaps_and_is_not_undone_by_a_second_one_unless_asked(fresh):
    client, paths = fresh
    one, two = register(client), register(client)
    with pytest.raises(UserError, match="no previous champion"):
        aliases.rollback(paths, client, NAME, "")
    aliases.promote(paths, client, NAME, one, None, "")
    with pytest.raises(UserError, match="no previous champion"):
        aliases.rollback(paths, client, NAME, "")
    aliases.promote(paths, client, NAME, two, one, "")
    aliases.rollback(paths, client, NAME, "it runs into walls", who="anna")
    assert aliases.current(client, NAME) == {CHAMPION: one, PREVIOUS: two}
    with pytest.raises(UserError, match=f"version {two} has been rolled back already, by anna"):
        aliases.rollback(paths, client, NAME, "me too")
    aliases.rollback(paths, client, NAME, "it was the wall", again=True)
    assert aliases.current(client, NAME) == {CHAMPION: two, PREVIOUS: one}
    aliases.rollback(paths, client, NAME, "no, it was not", again=True)
    three = register(client)
    aliases.promote(paths, client, NAME, three, one, "mended")
    aliases.rollback(paths, client, NAME, "not mended")  # of another champion: nothing to be warned of
    assert aliases.current(client, NAME) == {CHAMPION: one, PREVIOUS: three}
    assert is_chain(aliases.audit(client, NAME))


def test_what_does_not_exist_changes_nothing_and_leaves_no_record(fresh):
    client, paths = fresh
    with pytest.raises(UserError, match="has no version or alias '4711'"):
        aliases.promote(paths, client, NAME, "4711", None, "")
    with pytest.raises(UserError, match="has no version or alias 'champion'"):
        aliases.find(client, NAME, CHAMPION)
    with pytest.raises(UserError, match="model nobody: has no version"):
        aliases.find(client, "nobody", "1")
    assert aliases.current(client, "nobody") == {} and aliases.audit(client, NAME) == []


def test_an_alias_can_be_removed(fresh):
    client, paths = fresh
    one = register(client)
    aliases.change(paths, client, NAME, {CANDIDATE: one}, "")
    aliases.change(paths, client, NAME, {CANDIDATE: None}, "")
    assert aliases.current(client, NAME) == {} and aliases.strays(client, NAME) == {}


def test_changes_past_us_are_told(fresh):
    client, paths = fresh
    one, two = register(client), register(client)
    aliases.promote(paths, client, NAME, one, None, "")
    client.set_registered_model_alias(NAME, CHAMPION, two)
    client.set_registered_model_alias(NAME, CANDIDATE, two)
    assert aliases.strays(client, NAME) == {CHAMPION: (one, two), CANDIDATE: (None, two)}
    aliases.promote(paths, client, NAME, one, two, "back")
    assert aliases.strays(client, NAME) == {CANDIDATE: (None, two)}
    assert aliases.audit(client, NAME)[0].changes[CHAMPION] == (two, one)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_change_that_was_killed_is_made_to_the_end_by_the_next(fresh, folder, request, after):
    """Killed before the first alias, between the two, and before the record is ticked off."""
    client, paths = fresh
    one, two, three = register(client), register(client), register(client)
    aliases.promote(paths, client, NAME, one, None, "the first")
    process = start(DIES, folder, request.config.rootpath, str(after), two)
    assert process.communicate(timeout=120) and process.returncode == -signal.SIGKILL
    assert aliases.audit(client, NAME)[0].status == "RUNNING"
    assert aliases.current(client, NAME)[CHAMPION] == (two if after == 2 else one)

    aliases.change(paths, client, NAME, {CANDIDATE: three}, "the next")
    assert aliases.current(client, NAME) == {CANDIDATE: three, CHAMPION: two, PREVIOUS: one}
    assert [entry.status for entry in aliases.audit(client, NAME)] == ["FINISHED"] * 3
    assert is_chain(aliases.audit(client, NAME)) and aliases.strays(client, NAME) == {}


def test_a_change_that_can_never_be_made_holds_up_nobody(fresh, folder, request):
    client, paths = fresh
    one, two = register(client), register(client)
    aliases.promote(paths, client, NAME, one, None, "the first")
    process = start(DIES, folder, request.config.rootpath, "0", two)
    assert process.communicate(timeout=120) and process.returncode == -signal.SIGKILL
    client.delete_model_version(NAME, two)
    aliases.change(paths, client, NAME, {CANDIDATE: one}, "the next")
    assert [entry.status for entry in aliases.audit(client, NAME)] == ["FINISHED", "FAILED", "FINISHED"]
    assert aliases.current(client, NAME)[CHAMPION] == one


def test_eight_processes_promote_at_once(fresh, folder, request):
    client, paths = fresh
    first, *versions = [register(client) for _ in range(9)]
    aliases.promote(paths, client, NAME, first, None, "the first")
    crowd = [start(PROMOTES, folder, request.config.rootpath, version) for version in versions]
    try:
        for process in crowd:
            assert process.stdout.readline() == "ready\n"
        for process in crowd:
            process.stdin.write("go\n")
            process.stdin.flush()
        seen = set()
        while any(process.poll() is None for process in crowd):
            where = aliases.current(client, NAME)
            assert where[CHAMPION] in (first, *versions)  # never none, and one alias names one version
            seen.add(where[CHAMPION])
            time.sleep(0.01)
        for process in crowd:
            assert process.wait() == 0, process.stderr.read()
    finally:
        for process in crowd:
            process.kill()
            process.communicate()
    entries = aliases.audit(client, NAME)
    assert len(entries) == 9 and is_chain(entries) and aliases.strays(client, NAME) == {}
    assert {entry.changes[CHAMPION][1] for entry in entries} == {first, *versions}
    assert all(entry.changes[PREVIOUS][1] == entry.changes[CHAMPION][0] for entry in entries[:-1])
    assert aliases.current(client, NAME)[PREVIOUS] == entries[1].changes[CHAMPION][1]


def test_a_promotion_asks_the_database_no_more_where_there_are_many_versions_and_runs(fresh):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    client, paths = fresh
    one, two, three = (register(client) for _ in range(3))
    aliases.promote(paths, client, NAME, one, None, "")
    asked = []

    def note(connection, cursor, statement, *others):
        asked.append(statement)

    def statements(version, champion):
        asked.clear()
        event.listen(Engine, "before_cursor_execute", note)
        try:
            aliases.promote(paths, client, NAME, version, champion, "")
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        return len(asked)

    few = statements(two, one)
    experiment = client.get_experiment_by_name("llarp").experiment_id
    for _ in range(30):
        register(client)
        client.create_run(experiment)
    many = statements(three, two)
    assert few > 0 and many <= few + 2, (few, many)
