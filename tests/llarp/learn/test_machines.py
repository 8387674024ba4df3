"""Ranks of several machines that differ from one another; whole machines are tested with the stage `train`."""

import socket

import pytest
from forked import forked
from toy_ranks import PPO, options

from llarp.errors import UserError
from llarp.launch import check_port, launch_command, wait_for_first
from llarp.learn.train import _code

TRAIN = {"processes": 2, "machines": 2, "address": "first:29500", "algorithm": "bc", "epochs": 1.0}


def errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"params": {"train": {**TRAIN, "lr": 0.5}}}, "train.lr: is 0.5 here, but 0.003 on the first machine"),
        ({"data": 1}, "bc: has other data or another backbone than the first"),
    ],
)
def test_a_machine_that_differs_is_refused_by_all(tmp_path, second, told):
    done = forked(2, "toy_ranks:training", tmp_path / "policy", options(train=TRAIN, second=second))
    assert done.returncode == 2, done.stderr
    line = f"error: machine 1, {told} — give every machine the same commit, params.yaml and data"
    assert errors(done) == [line] * 2
    assert not (tmp_path / "policy").exists()


@pytest.mark.slow
def test_a_machine_may_have_an_address_and_memory_of_its_own(tmp_path):
    own = {"prefix_cache_gib": 0.0, "log_every": 7, "keep_checkpoints": 9, "address": "other:1"}
    told = options(train=TRAIN, second={"params": {"train": {**TRAIN, **own}, "ppo": PPO}})
    done = forked(2, "toy_ranks:training", tmp_path / "policy", told)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "policy").is_dir()


def test_code_is_told_apart_by_its_digest():
    assert _code() == _code() and len(_code()) == 12


def config(**changes):
    from toy_training import changed

    return changed(train={**TRAIN, "address": "10.0.0.1:29500", **changes}).train


def test_the_command_of_a_machine():
    command = launch_command("module", ["--a"], config(processes=6), machine=1)
    for flag, value in {
        "--num_processes": "6", "--num_machines": "2", "--machine_rank": "1", "--main_process_ip": "10.0.0.1",
        "--main_process_port": "29500", "--rdzv_conf": "timeout=86400", "--module": "module",
    }.items():  # fmt: skip
        assert command[command.index(flag) + 1] == value
    assert command[-1] == "--a"


@pytest.mark.parametrize(
    ("changes", "machine", "told"),
    [
        ({"processes": 3}, 0, "train.processes: 3 processes cannot be shared out evenly over 2 machines"),
        ({}, 2, "train.machines: there is no machine 2 — choose 0 to 1"),
        ({}, -1, "train.machines: there is no machine -1"),
        ({"address": None}, 1, "train.address: unset — write it as HOST:PORT"),
        ({"address": "10.0.0.1"}, 1, "train.address: '10.0.0.1' is no address"),
        ({"address": "host:99999"}, 0, "train.address: 'host:99999' is no address"),
        ({"machines": 1}, 1, "train.machines: there is only one machine"),
    ],
)
def test_what_cannot_be_is_refused(changes, machine, told):
    with pytest.raises(UserError) as caught:
        launch_command("module", [], config(**changes), machine)
    assert str(caught.value).startswith(told)


def test_a_port_in_use_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"train.address: port {port} is taken"):
            check_port(config(address=f"first:{port}"))
    check_port(config(address=f"first:{port}"))


def test_another_machine_waits_for_the_first(monkeypatch, capsys):
    calls = []

    class Connection:
        def close(self):
            calls.append("closed")

    def connect(endpoint, timeout):
        calls.append(endpoint)
        if len(calls) < 3:
            raise ConnectionRefusedError(111, "Connection refused")
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    monkeypatch.setattr("llarp.launch._PERIOD_S", 0.0)
    wait_for_first(config())
    assert calls == [("10.0.0.1", 29500)] * 3 + ["closed"]
    assert capsys.readouterr().out.count("Waiting for the first machine at 10.0.0.1:29500") == 1
