"""PostgreSQL, with a database and a role of its own for MLflow and for Prefect."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from llarp.errors import UserError
from pipelines.server import HOST, is_free
from pipelines.services.service import Service

OWNER = "postgres"
"""Role that owns the cluster; also the user that the server runs as where we are root, whom it refuses."""
DATABASES = ("mlflow", "prefect")
_DEBIAN = Path("/usr/lib/postgresql")
_INSTALL = "install PostgreSQL (Debian, Ubuntu: apt-get install postgresql)"


def program(name: str) -> str:
    """Path of a program of PostgreSQL; Debian keeps its servers off the path. UserError when it is missing."""
    versions = sorted(_DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, versions)))
    if found is None:
        raise UserError(f"no program {name}", "PostgreSQL", _INSTALL)
    return str(Path(found).resolve())  # it finds its libraries from where it lies


def ensure_databases(host: str, port: int, owner: str, passwords: Mapping[str, str]) -> None:
    """Makes the role and the database of each of `DATABASES`, or sets their passwords again. Can be repeated.

    Args:
        host: of the server.
        port: of the server.
        owner: a role that may make others.
        passwords: by role. The server is sent what it stores, so that no log of it can hold a password.

    """
    import psycopg2
    from psycopg2 import sql
    from psycopg2.extensions import encrypt_password

    with closing(
        psycopg2.connect(host=host, port=port, user=owner, password=passwords[owner], dbname="postgres")
    ) as db:
        db.autocommit = True
        cursor = db.cursor()
        for name in DATABASES:
            hashed = encrypt_password(passwords[name], name, scope=db, algorithm="scram-sha-256")
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            role = sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(hashed))
            cursor.execute(role)
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
            cursor.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


class Postgres(Service):
    """A server of our own on a folder of our own, on TCP alone; every connection needs a password."""

    name = "postgres"
    stop_signal = signal.SIGINT  # its fast shutdown: does not wait for clients to leave

    def __init__(self, root: Path, port: int, data: Path, passwords: Mapping[str, str]) -> None:
        """Args:
        root: folder of all services.
        port: that it listens on.
        data: its folder; made on the first start.
        passwords: by role.
        """
        super().__init__(root, port)
        self.data, self._passwords = data.resolve(), passwords

    @property
    def address(self) -> str:
        """For people."""
        return f"{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        """The server in the foreground."""
        return [
            program("postgres"), "-D", str(self.data), "-h", HOST, "-p", str(self.port),
            "-c", "unix_socket_directories=", "-c", "password_encryption=scram-sha-256",
        ]  # fmt: skip

    def identity(self) -> Mapping[str, Any]:
        """The user `postgres` where we are root."""
        account = _account()
        return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def prepare(self) -> None:
        """Makes the cluster, whole or not at all, if there is none."""
        if (self.data / "PG_VERSION").exists():
            return
        aside = self.data.with_name(f".{self.data.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True, mode=0o700)
        account = _account()
        if account is not None:
            shutil.chown(aside, account.pw_uid, account.pw_gid)
            if subprocess.run(["test", "-w", aside], **self.identity(), check=False).returncode:
                raise UserError(
                    f"the user {OWNER} cannot get there, and PostgreSQL does not run as root", self.data,
                    "let others pass the folders above it (chmod o+x), or choose --postgres-data",
                )  # fmt: skip
        with tempfile.NamedTemporaryFile("w", prefix="llarp-") as password:  # only its owner can read it
            if account is not None:
                shutil.chown(password.name, account.pw_uid)
            password.write(self._passwords[OWNER])
            password.flush()
            done = subprocess.run(
                [
                    program("initdb"), "--pgdata", aside, "--username", OWNER, "--pwfile", password.name,
                    "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8",
                ],
                **self.identity(), cwd="/", capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode:
            raise UserError(f"initdb failed: {done.stderr.strip()}", self.data)
        os.replace(aside, self.data)

    def settle(self) -> None:
        """Makes the databases."""
        assert self.port is not None
        ensure_databases(HOST, self.port, OWNER, self._passwords)

    def is_healthy(self) -> bool:
        """Whether it answers a query."""
        import psycopg2

        if not self.is_running() or self.port is None or is_free(self.port):
            return False
        try:
            with closing(self.connect("postgres", OWNER)) as db:
                db.cursor().execute("SELECT 1")
            return True
        except psycopg2.OperationalError:  # it is starting, or stopping
            return False

    def connect(self, database: str, role: str) -> Any:
        """A connection of psycopg2."""
        import psycopg2

        return psycopg2.connect(
            host=HOST, port=self.port, user=role, password=self._passwords[role], dbname=database, connect_timeout=5
        )


def _account() -> pwd.struct_passwd | None:
    """As whom PostgreSQL has to run: None as oneself; UserError when we are root and there is nobody else."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(OWNER)
    except KeyError:
        raise UserError(f"we are root, and there is no user {OWNER} to run it as", "PostgreSQL", _INSTALL) from None
