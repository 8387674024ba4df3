"""DVC's remote by SSH, against a real SSH server with keys: the lines of docs/services.md."""

import asyncio
import getpass
import os
import subprocess
import sys
import threading

import pytest


@pytest.fixture
def host(tmp_path):
    """(port, key file) of a server that shows `tmp_path / "served"` and lets in whoever has the key."""
    import asyncssh

    served, key = tmp_path / "served", tmp_path / "id_ed25519"
    served.mkdir()
    ours = asyncssh.generate_private_key("ssh-ed25519")
    ours.write_private_key(key)
    ours.write_public_key(tmp_path / "authorized_keys")

    async def listen():
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=str(tmp_path / "authorized_keys"),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(served)),
        )  # fmt: skip

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    yield server.get_port(), key
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


def test_what_is_pushed_by_ssh_is_pulled_by_a_fresh_clone(host, tmp_path):
    port, key = host
    home = tmp_path / "home"
    home.mkdir()
    variables = {**os.environ, "HOME": str(home)}
    variables.pop("SSH_AUTH_SOCK", None)

    def dvc(root, *arguments, is_well=True):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=root, env=variables, capture_output=True, text=True
        )
        assert (done.returncode == 0) == is_well, done.stderr
        return done.stderr

    def clone(name, identity=True):
        root = tmp_path / name
        root.mkdir()
        dvc(root, "init", "--no-scm", "--quiet")
        dvc(root, "remote", "add", "--default", "lab", f"ssh://{getpass.getuser()}@127.0.0.1:{port}/llarp")
        if identity:
            dvc(root, "remote", "modify", "--local", "lab", "keyfile", str(key))
        return root

    one = clone("one")
    (one / "data.txt").write_text("bytes")
    dvc(one, "add", "--quiet", "data.txt")
    dvc(one, "push", "--quiet")
    assert [file.read_text() for file in (tmp_path / "served" / "llarp").rglob("*") if file.is_file()] == ["bytes"]
    two = clone("two")
    (two / "data.txt.dvc").write_bytes((one / "data.txt.dvc").read_bytes())
    dvc(two, "pull", "--quiet")
    assert (two / "data.txt").read_text() == "bytes"
    stranger = clone("stranger", identity=False)
    (stranger / "data.txt.dvc").write_bytes((one / "data.txt.dvc").read_bytes())
    assert "ERROR" in dvc(stranger, "pull", is_well=False)
