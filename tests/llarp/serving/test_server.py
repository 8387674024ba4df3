"""The server: answers of the agent, bounds, and errors in one line."""

import io
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import uvicorn
from agents import INSTRUCTIONS, images
from fastapi.testclient import TestClient
from PIL import Image

from llarp.serving import SessionEndedError, server
from llarp.serving import sessions as kept
from llarp.serving.images import RAW, decode
from llarp.serving.server import Model, Service
from llarp.serving.sessions import FullError, Sessions, UnknownError


@pytest.fixture
def service(agent):
    return Service(agent, Model("llarp", "7", "ab12"), most_sessions=3, idle_s=60, hosts=["testserver"])


@pytest.fixture
def client(service):
    with TestClient(service.app, raise_server_exceptions=False) as client:
        yield client


def start(client, instruction=INSTRUCTIONS[0]):
    reply = client.post("/sessions", json={"instruction": instruction})
    assert reply.status_code == 201, reply.text
    return reply.json()["session"]


def act(client, key, content, media_type=RAW):
    if isinstance(content, np.ndarray):
        content = content.tobytes()
    return client.post(f"/sessions/{key}/act", content=content, headers={"Content-Type": media_type})


def file(image, name):
    out = io.BytesIO()
    Image.fromarray(image).save(out, name)
    return out.getvalue()


def refused(reply, status, words):
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["detail"]
    line = reply.json()["detail"]
    assert words in line and "\n" not in line
    return True


def test_a_session_over_http_answers_as_the_agent(client, agent):
    seen = images(5, 1)
    key = start(client, INSTRUCTIONS[1])
    answers = [act(client, key, image).json() for image in seen]
    with agent.start(INSTRUCTIONS[1]) as session:
        assert [answer["skill"] for answer in answers] == [session.act(image) for image in seen]
    assert [answer["step"] for answer in answers] == [1, 2, 3, 4, 5]
    assert all(answer["latency_ms"] > 0 for answer in answers)


def test_an_image_may_come_as_a_file(client, agent):
    seen = images(3)
    key, other = start(client), start(client)
    for image in seen:
        assert (
            act(client, key, file(image, "PNG"), "image/png").json()["skill"]
            == (act(client, other, image).json()["skill"])
        )
    assert act(client, key, file(seen[0], "JPEG"), "image/jpeg; q=1").status_code == 200


def test_ending_frees_the_place_and_may_be_repeated(client, service):
    key = start(client)
    assert len(service.sessions) == 1
    for _ in range(2):
        assert client.delete(f"/sessions/{key}").json() == {"session": key}
    assert len(service.sessions) == 0
    assert refused(act(client, key, images(1)), 410, "was ended")


def test_an_unknown_session_is_not_found(client):
    assert refused(act(client, "nobody", images(1)), 404, "no such session")
    assert refused(client.delete("/sessions/nobody"), 404, "no such session")
    assert refused(client.get("/sessions"), 405, "Method Not Allowed")


def test_a_session_ends_with_its_last_step(client, service, agent):
    key = start(client)
    for image in images(agent.horizon):
        assert act(client, key, image).status_code == 200
    assert len(service.sessions) == 0
    assert refused(act(client, key, images(1)), 410, "after 32 steps")
    assert client.delete(f"/sessions/{key}").status_code == 200


def test_when_all_sessions_are_in_use_nobody_loses_one(client):
    keys = [start(client) for _ in range(3)]
    reply = client.post("/sessions", json={"instruction": "Go"})
    assert refused(reply, 503, "all 3 sessions are in use") and reply.headers["retry-after"]
    assert all(act(client, key, images(1)).status_code == 200 for key in keys)
    client.delete(f"/sessions/{keys[0]}")
    assert start(client) not in keys


@pytest.mark.parametrize(("body", "words"), [
    (b"", "JSON"), (b"{}", "instruction"), (b'{"instruction": 3}', "string"), (b"[1]", "Input should be"),
    (b'{"instruction": "Go", "model": "x"}', "model"), (b'{"instruction": " "}', "empty"),
    (b'{"instruction": "' + b"go " * 99 + b'"}', "tokens"), (b'{"instruction": "' + b"x" * 10_001 + b'"}', "10000"),
])  # fmt: skip
def test_a_bad_instruction_is_told(client, service, body, words):
    assert refused(client.post("/sessions", content=body, headers={"Content-Type": "application/json"}), 422, words)
    assert len(service.sessions) == 0


def test_other_media_types_are_refused(client):
    assert refused(client.post("/sessions", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "text/plain")
    assert refused(act(client, start(client), images(1), "image/gif"), 415, "image/gif")
    assert refused(client.post(f"/sessions/{start(client)}/act"), 415, "missing")


def bomb(width, height):
    """A small PNG that says that it is large."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PNG = file(images(1)[0], "PNG")


@pytest.mark.parametrize(("content", "media_type", "words"), [
    (images(1, edge=33)[0].tobytes(), RAW, "3267 bytes are no uint8[32, 32, 3]"),
    (b"", RAW, "0 bytes"),
    (file(images(1, edge=40)[0], "PNG"), "image/png", "40 x 40 pixels, RGB, not 32 x 32, RGB"),
    (file(images(1)[0, ..., 0], "PNG"), "image/png", "32 x 32 pixels, L, not"),
    (bomb(40_000, 100), "image/png", "40000 x 100"),
    (bomb(60_000, 60_000), "image/png", "no readable PNG"),
    (bomb(32, 32), "image/png", "no readable PNG"),
    (PNG[: len(PNG) // 2], "image/png", "no readable PNG"),
    (PNG, "image/jpeg", "no readable JPEG"),
    (b"\xff\xd8\xff\xe0nothing", "image/jpeg", "no readable JPEG"),
    (b"", "image/png", "no readable PNG"),
])  # fmt: skip
def test_a_bad_image_is_told_and_costs_no_step(client, content, media_type, words):
    key = start(client)
    assert refused(act(client, key, content, media_type), 422, words)
    assert act(client, key, images(1)).json()["step"] == 1


def test_a_large_picture_is_never_unpacked(monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("unpacked"))
    with pytest.raises(ValueError, match="8000 x 8000"):
        decode(bomb(8000, 8000), "image/png", (32, 32, 3))


def test_a_large_body_is_refused_before_it_is_read(client, service):
    sent = []

    def parts():
        for _ in range(1000):
            sent.append(1)
            yield bytes(10_000)

    reply = client.post("/sessions/any/act", content=parts(), headers={"Content-Type": RAW})
    assert refused(reply, 413, f"more than {service.most_bytes} bytes")
    big = b'{"instruction": "' + b"x" * 200_000 + b'"}'
    assert refused(client.post("/sessions", content=big, headers={"Content-Type": "application/json"}), 413, "bytes")


def test_a_body_that_does_not_come_is_given_up(service, monkeypatch):
    monkeypatch.setattr(server, "BODY_S", 0.2)
    running = uvicorn.Server(uvicorn.Config(service.app, log_level="error"))
    with server.listen("127.0.0.1", 0) as bound, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(running.run, [bound])
        bound.listen()
        try:
            with socket.create_connection(bound.getsockname(), timeout=20) as client:
                head = ["POST /sessions HTTP/1.1", "Host: testserver", "Content-Type: application/json"]
                client.sendall("\r\n".join([*head, "Content-Length: 9", "", "{"]).encode())
                answer = b"".join(iter(lambda: client.recv(1000), b""))
        finally:
            running.should_exit = True
            ended.result(20)
    assert b"408" in answer.split(b"\r\n")[0] and answer.endswith(b'{"detail":"the body did not come in 0.2 s"}')


def test_the_model_is_told(client, agent):
    told = client.get("/model").json()
    assert (told["name"], told["version"], told["sha256"]) == ("llarp", "7", "ab12")
    assert told["image"] == {"height": 32, "width": 32} and told["steps"] == 32
    assert told["actions"] == list(agent.actions)
    assert client.get("/health").json() == {"status": "ok"}


def test_metrics_are_prometheus_text(client):
    parse = pytest.importorskip("prometheus_client.parser").text_string_to_metric_families
    quiet = {sample.name: sample.value for family in parse(client.get("/metrics").text) for sample in family.samples}
    assert quiet["llarp_step_seconds_count"] == 0
    key = start(client)
    told = [act(client, key, image).json()["latency_ms"] for image in images(9)]
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [sample for family in parse(reply.text) for sample in family.samples]
    values = {(sample.name, sample.labels.get("quantile")): sample.value for sample in samples}
    assert values["llarp_sessions_open", None] == values["llarp_sessions_total", None] == 1
    assert values["llarp_step_seconds_count", None] == 9
    assert values["llarp_step_seconds", "0.5"] == pytest.approx(np.median(told) / 1e3, abs=1e-5)
    assert values["llarp_step_seconds", "0.99"] == pytest.approx(np.percentile(told, 99) / 1e3, abs=1e-5)
    assert values["llarp_step_seconds_sum", None] == pytest.approx(sum(told) / 1e3, abs=1e-4)
    assert key not in reply.text


def test_another_name_of_this_machine_is_refused(client):
    assert refused(client.get("/health", headers={"Host": "elsewhere.example"}), 421, "elsewhere.example")


def test_what_breaks_is_told_in_one_line(client, service, monkeypatch):
    key = start(client)
    monkeypatch.setattr(service.agent.policy, "act", lambda *_: 1 / 0)
    assert refused(act(client, key, images(1)), 500, "the server failed")
    monkeypatch.undo()
    assert refused(act(client, key, images(1)), 410, "after 0 steps")
    assert len(service.sessions) == 0


def test_many_clients_at_once_get_their_own_answers(agent):
    service = Service(agent, Model("llarp", "1"), most_sessions=8, idle_s=60)
    expected = {}
    for number, text in enumerate(INSTRUCTIONS):
        with agent.start(text) as session:
            expected[number] = [session.act(image) for image in images(6, number)]

    with TestClient(service.app) as client:

        def play(number):
            key = start(client, INSTRUCTIONS[number])
            return [act(client, key, image).json()["skill"] for image in images(6, number)]

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(play, [0, 1, 2, 0, 1, 2])) == [expected[number] for number in (0, 1, 2, 0, 1, 2)]
    assert len(service.sessions) == 0, "all end with the server"


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_idle_sessions_end_and_make_room(agent):
    clock = Clock()
    sessions = Sessions(agent, 2, 10.0, clock)
    first, second = sessions.start("Go"), sessions.start("Go")
    clock.now_s = 9.0
    used = sessions.get(first)
    with pytest.raises(FullError):
        sessions.start("Go")
    clock.now_s = 11.0
    third = sessions.start("Go")
    with pytest.raises(SessionEndedError, match="idle for 10 s"):
        sessions.get(second)
    assert sessions.get(first) is used and len({first, second, third}) == 3
    clock.now_s = 30.0
    assert len(sessions) == 0 and used.has_ended


def test_ids_are_long_and_ended_ones_are_forgotten_in_the_end(agent, monkeypatch):
    monkeypatch.setattr(kept, "REMEMBERED", 2)
    sessions = Sessions(agent, 8, 10.0)
    keys = [sessions.start("Go") for _ in range(3)]
    assert len(set(keys)) == 3 and all(len(key) >= 22 for key in keys)
    for key in keys:
        sessions.end(key, "over")
    with pytest.raises(UnknownError):
        sessions.get(keys[0])
    with pytest.raises(SessionEndedError, match="over"):
        sessions.get(keys[2])
