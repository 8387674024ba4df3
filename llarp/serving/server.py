"""An agent over HTTP: sessions, steps, and what a monitoring system asks for.

    POST   /sessions             {"instruction": TEXT}    201 {"session": ID}
    POST   /sessions/{id}/act    an image                 {"skill": NAME, "step": N, "latency_ms": MS}
    DELETE /sessions/{id}                                 {"session": ID}
    GET    /health  /model  /metrics

An error is {"detail": LINE}: 404 no such session, 408 slow body, 410 session has ended, 413 large body, 415 media
type, 421 another host's name, 422 bad instruction or image, 503 all sessions in use. There is no password: see `run`.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llarp.errors import UserError
from llarp.serving.agent import Agent, SessionEndedError
from llarp.serving.images import FORMATS, RAW, decode
from llarp.serving.latency import Latency
from llarp.serving.sessions import FullError, Sessions, UnknownError

LOOPBACK = "127.0.0.1"
WINDOW = 1000
"""Last steps over which percentiles are told."""
BODY_S = 10.0
"""Time that a request has to send its body."""
MOST_CONNECTIONS = 256
GRACE_S = 10
"""Time that steps under way have when the server is to end."""
_JSON = "application/json"


@dataclass(frozen=True)
class Model:
    """Which model version is served."""

    name: str
    version: str
    sha256: str | None = None
    """Digest of its files; None: it has none on record."""


class Asked(BaseModel):
    """Body of a request for a session."""

    model_config = ConfigDict(extra="forbid")

    instruction: str = Field(max_length=10_000)


class Meter:
    """What `/metrics` tells."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        """Of all steps together."""
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._lock = Lock()

    def add(self, seconds: float) -> None:
        """Counts a step."""
        with self._lock:
            self.steps += 1
            self.seconds += seconds
            self._last.append(seconds)

    @property
    def latency(self) -> Latency:
        """Of the last steps."""
        with self._lock:
            return Latency.of(list(self._last))

    def text(self, sessions: Sessions) -> str:
        """As Prometheus reads it."""
        latency = self.latency
        lines = [
            "# HELP llarp_sessions_open Sessions open now.",
            "# TYPE llarp_sessions_open gauge",
            f"llarp_sessions_open {len(sessions)}",
            "# HELP llarp_sessions_total Sessions begun.",
            "# TYPE llarp_sessions_total counter",
            f"llarp_sessions_total {sessions.started}",
            f"# HELP llarp_step_seconds From an image's arrival to the skill; quantiles of the last {WINDOW} steps.",
            "# TYPE llarp_step_seconds summary",
            f'llarp_step_seconds{{quantile="0.5"}} {latency.p50_ms / 1e3:.6f}',
            f'llarp_step_seconds{{quantile="0.99"}} {latency.p99_ms / 1e3:.6f}',
            f"llarp_step_seconds_sum {self.seconds:.6f}",
            f"llarp_step_seconds_count {self.steps}",
        ]
        return "\n".join(lines) + "\n"


class Service:
    """An agent with its sessions and its meter, and `app`, which offers them."""

    def __init__(
        self, agent: Agent, model: Model, most_sessions: int, idle_s: float, hosts: Collection[str] | None = None
    ) -> None:
        """Args:
        agent: who acts.
        model: what it is.
        most_sessions: open at once.
        idle_s: seconds without a step after which a session ends.
        hosts: names that a request may call this machine, so that no web page makes a browser a way in; None: any.
        """
        self.agent, self.model, self.meter = agent, model, Meter()
        self.sessions = Sessions(agent, most_sessions, idle_s)
        height, width, channels = agent.image_shape
        self.most_bytes = 2 * height * width * channels + 2**16  # the worst file of an image is little more than it
        self.app = self._app(hosts)

    def start(self, instruction: str) -> dict[str, Any]:
        """A new session."""
        try:
            return {"session": self.sessions.start(instruction)}
        except UserError as error:
            raise HTTPException(422, str(error)) from None
        except FullError as error:
            raise HTTPException(503, str(error), {"Retry-After": "10"}) from None

    def act(self, key: str, content: bytes, media_type: str) -> dict[str, Any]:
        """One step."""
        arrived_s = time.perf_counter()
        try:
            session = self.sessions.get(key)
            try:
                skill, step = session.act(decode(content, media_type, self.agent.image_shape)), session.steps
            finally:
                if session.has_ended:  # by its last step, or one that failed
                    self.sessions.end(key, f"the session has ended after {session.steps} steps: start another")
        except UnknownError as error:
            raise HTTPException(404, str(error)) from None
        except SessionEndedError as error:
            raise HTTPException(410, str(error)) from None
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        seconds = time.perf_counter() - arrived_s
        self.meter.add(seconds)
        return {"skill": skill, "step": step, "latency_ms": round(1e3 * seconds, 3)}

    def end(self, key: str) -> dict[str, Any]:
        """Ends a session, or says that it has ended."""
        try:
            self.sessions.end(key, "the session was ended: start another")
        except UnknownError as error:
            raise HTTPException(404, str(error)) from None
        return {"session": key}

    def _app(self, hosts: Collection[str] | None) -> FastAPI:
        @asynccontextmanager
        async def life(app: FastAPI) -> AsyncIterator[None]:
            yield
            self.sessions.end_all("the server has ended")

        async def named(request: Request) -> None:
            if hosts is not None and request.url.hostname not in hosts:
                raise HTTPException(421, f"this is not {request.url.hostname}")

        # No pages of documentation: they would load their scripts from elsewhere.
        app = FastAPI(title="llarp serve", lifespan=life, openapi_url=None, dependencies=[Depends(named)])
        app.add_exception_handler(RequestValidationError, _invalid)
        app.add_exception_handler(Exception, _broken)

        async def body(request: Request) -> bytes:
            return await _read(request, self.most_bytes)

        Body = Annotated[bytes, Depends(body)]

        # Not `async`: inference takes a thread, and others are answered meanwhile.
        @app.post("/sessions", status_code=201)
        def start(request: Request, content: Body) -> dict[str, Any]:
            _media_type(request, _JSON)
            try:
                asked = Asked.model_validate_json(content)
            except ValidationError as error:
                raise HTTPException(422, _first(error.errors())) from None
            return self.start(asked.instruction)

        @app.post("/sessions/{key}/act")
        def act(request: Request, key: str, content: Body) -> dict[str, Any]:
            return self.act(key, content, _media_type(request, RAW, *FORMATS))

        @app.delete("/sessions/{key}")
        def end(key: str) -> dict[str, Any]:
            return self.end(key)

        @app.get("/health")
        def health() -> dict[str, str]:
            return {"status": "ok"}

        @app.get("/model")
        def model() -> dict[str, Any]:
            height, width, _ = self.agent.image_shape
            image = {"height": height, "width": width}
            return {**asdict(self.model), "image": image, "steps": self.agent.horizon, "actions": self.agent.actions}

        @app.get("/metrics")
        def metrics() -> PlainTextResponse:
            return PlainTextResponse(self.meter.text(self.sessions), media_type="text/plain; version=0.0.4")

        return app


class _Server(uvicorn.Server):
    """Tells when it can be asked."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address, of a port that is free where 0 is given; UserError when it is taken or not ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound
    except OSError as error:
        where, do = f"{host} port {port}", "choose another with --host or --port"
        raise UserError(f"cannot listen there ({error.strerror})", where, do) from error


def run(service: Service, bound: socket.socket, on_ready: Callable[[], object]) -> None:
    """Serves until SIGINT or SIGTERM, whose handlers then run as if they came now: steps under way are finished first.

    Whoever reaches the socket can use it and sees no one else's sessions, as their ids cannot be guessed; but there is
    no password and no encryption.
    """
    config = uvicorn.Config(
        service.app, log_level="warning", access_log=False,  # which would tell the sessions' ids
        limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=GRACE_S, server_header=False,
    )  # fmt: skip
    _Server(config, on_ready).run([bound])


async def _read(request: Request, most_bytes: int) -> bytes:
    """The body; 413 as soon as it is too long, 408 when it does not come."""
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                content += part
                if len(content) > most_bytes:
                    raise HTTPException(413, f"more than {most_bytes} bytes", {"Connection": "close"})
    except TimeoutError:
        raise HTTPException(408, f"the body did not come in {BODY_S:g} s", {"Connection": "close"}) from None
    return bytes(content)


def _media_type(request: Request, *known: str) -> str:
    """Of the body; 415 when it is another. Web pages of other origins may send none of ours without being asked."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in known:
        raise HTTPException(415, f"Content-Type is {given or 'missing'}, not {' or '.join(known)}")
    return given


def _first(errors: Sequence[Any]) -> str:
    """What is wrong first."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    return f"{where or 'body'}: {errors[0]['msg']}"


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": _first(error.errors())}, 422)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the server failed: see its log"}, 500)
