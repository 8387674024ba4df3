import time
from itertools import chain

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from components import outbox
from components.outbox import Outbox
from components.unsent import Point, Unsent, in_a_line, send_kept


class Client:
    """Takes what `answers` allows: one per request, each None or an exception to raise; None for those after."""

    tracking_uri = "http://anna:secret@host:5000"

    def __init__(self, *answers):
        self.answers, self.batches, self.artifacts, self.status = list(answers), [], [], None

    def _answer(self):
        if self.answers and (error := self.answers.pop(0)):
            raise error

    def log_batch(self, run_id, metrics):
        self._answer()
        self.batches.append([metric.step for metric in metrics])

    def log_artifact(self, run_id, path):
        self._answer()
        self.artifacts.append(path)

    def set_terminated(self, run_id, status, end_ms):
        self._answer()
        self.status = status, end_ms

    def get_run(self, run_id):
        self._answer()


AWAY = MlflowException("API request to http://anna:secret@host:5000/api failed")
REFUSED = MlflowException("the run must be active", INVALID_PARAMETER_VALUE)
UNKNOWN = MlflowException("no such run", RESOURCE_DOES_NOT_EXIST)


def points(count):
    return [Point("loss", 1.0, 1000 + step, step) for step in range(count)]


def test_batches_are_small_enough_and_go_on_where_one_failed():
    unsent, client = Unsent("id", points(2500)), Client(None, AWAY)
    with pytest.raises(MlflowException):
        unsent.send(client)
    assert len(unsent.points) == 1500
    unsent.send(client)
    assert [len(batch) for batch in client.batches] == [1000, 1000, 500]
    assert list(chain(*client.batches)) == list(range(2500))
    assert unsent.is_empty


def test_what_is_refused_is_said_and_keeps_nothing_back(capsys):
    unsent, client = Unsent("id", points(1500), status="FAILED"), Client(REFUSED)
    unsent.send(client)
    assert unsent.is_empty and len(client.batches) == 1 and client.status
    assert capsys.readouterr().out == "MLflow refuses 1000 points of run id: the run must be active\n"


def test_what_is_kept_is_sent_another_day(tmp_path, capsys):
    report = tmp_path / "report.html"
    report.write_text("<p>")
    unsent = Unsent("id", points(3), [report], "FINISHED", 7)
    unsent.keep(tmp_path / "kept" / "id")
    report.unlink()

    send_kept(tmp_path / "kept", Client(UNKNOWN))  # the server of another project
    assert Unsent.read(tmp_path / "kept" / "id").points == points(3)
    assert "no such run" in capsys.readouterr().out

    send_kept(tmp_path / "kept", Client(None, AWAY))
    assert "secret" not in capsys.readouterr().out

    client = Client()
    send_kept(tmp_path / "kept", client)
    assert client.batches == [[0, 1, 2]]
    assert client.status == ("FINISHED", 7)
    assert [path.endswith("/report.html") for path in client.artifacts] == [True]
    assert not list((tmp_path / "kept").iterdir())
    assert (
        capsys.readouterr().out == "MLflow has now got what it had missed: 3 points, report.html, the end of run id.\n"
    )


def test_an_address_is_told_without_its_password():
    assert in_a_line("no answer:\n https://anna:secret@host/x") == "no answer: https://host/x"


def test_the_thread_tries_until_the_server_takes_it(monkeypatch, capsys):
    monkeypatch.setattr(outbox, "FLUSH_S", 0.01)
    monkeypatch.setattr(outbox, "IMPATIENT", {})
    client = Client(AWAY, None, AWAY, ValueError("of a plug-in"), None)
    box = Outbox(client, "id")
    for point in points(20):
        box.unsent.points.append(point)
        box.start()
        time.sleep(0.02)
    assert box.finish(60)
    assert list(chain(*client.batches)) == list(range(20))
    assert capsys.readouterr().out.count("does not answer") == 2  # once per outage


def test_nobody_waits_longer_than_asked_for(monkeypatch):
    monkeypatch.setattr(outbox, "IMPATIENT", {})
    monkeypatch.setattr(outbox, "HASTY", {})
    box = Outbox(Client(*[AWAY] * 1000), "id")
    box.unsent.points += points(1)
    assert not box.finish(0.2)
    box.give_up()
    assert box.finish(60) and box.unsent.points == points(1)
