"""What compose.yaml, the Dockerfile and .env.example promise; no container engine is needed to read them."""

import re

import pytest
import yaml

SECRET = re.compile(r"PASSWORD|SECRET|KEY")
ONE_OFF = {"service_completed_successfully"}


@pytest.fixture(scope="module")
def root(request):
    return request.config.rootpath


@pytest.fixture(scope="module")
def compose(root):
    return yaml.safe_load((root / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


@pytest.fixture(scope="module")
def one_off(services):
    """Those that others wait for to end."""
    conditions = [item for it in services.values() for item in it.get("depends_on", {}).items()]
    return {name for name, how in conditions if how["condition"] in ONE_OFF}


def test_every_published_port_is_on_loopback(services):
    ports = [port for it in services.values() for port in it.get("ports", ())]
    assert len(ports) == 4
    assert all(isinstance(port, str) and port.startswith("127.0.0.1:") for port in ports)
    assert not any(it.get("network_mode") == "host" for it in services.values())


def test_every_server_has_a_healthcheck_and_is_waited_for(services, one_off):
    assert one_off == {"setup", "s3-volume"}
    for name, it in services.items():
        assert name in one_off or it["healthcheck"]["test"][0].startswith("CMD"), name
        assert (it["restart"] == "no") == (name in one_off), name
        for other, how in it.get("depends_on", {}).items():
            assert how["condition"] in (ONE_OFF if other in one_off else {"service_healthy"}), (name, other)


def test_no_secret_is_written_down_or_on_a_command_line(root, services):
    for name, it in services.items():
        for key, value in it.get("environment", {}).items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", value), (name, key)
            else:
                assert "@" not in value or re.search(r"//\w+@", value), (name, key)  # a role, no password
        line = " ".join(map(str, [*it.get("command", ()), *it.get("entrypoint", ())]))
        assert not re.search(r"(?<!\$)\$\{?\w*(PASSWORD|SECRET|KEY)", line), name  # $$ is left to the container
    for line in (root / ".env.example").read_text().splitlines():
        assert not SECRET.search(line.partition("=")[0]) or line.startswith("#") or line.endswith("="), line


def test_every_variable_that_is_demanded_is_in_the_example(root):
    demanded = set(re.findall(r"\$\{([A-Z0-9_]+):\?", (root / "compose.yaml").read_text()))
    offered = {line.partition("=")[0] for line in (root / ".env.example").read_text().splitlines()}
    assert demanded and demanded <= offered
    assert ".env" in (root / ".gitignore").read_text().splitlines()


def test_images_are_pinned_and_ours_is_built_here(root, services):
    for name, it in services.items():
        assert it["image"] == "llarp" or re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", it["image"]), name
    assert services["setup"]["build"]["context"] == "."
    bases = re.findall(r"^ARG BASE=(\S+)$", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert bases and all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)


def test_no_server_runs_as_root_and_none_can_gain_rights(root, services, one_off):
    for name, it in services.items():
        assert it["cap_drop"] == ["ALL"], name
        if name == "s3-volume":  # hands a fresh volume over and ends; without a network
            assert it["network_mode"] == "none" and it["cap_add"] == ["CHOWN"]
            continue
        assert it["read_only"] and it["security_opt"] == ["no-new-privileges:true"] and "cap_add" not in it, name
        assert not it.get("privileged") and not str(it["user"]).startswith(("0", "root")), name
    users = re.findall(r"^USER (\S+)$", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["llarp"]


def test_data_lies_in_named_volumes(compose, services):
    mounted = {mount.partition(":")[0] for it in services.values() for mount in it.get("volumes", ())}
    assert mounted == {*compose["volumes"], "."}


def test_the_image_holds_what_it_needs_and_no_tests(root):
    lines = (root / ".dockerignore").read_text().splitlines()
    assert lines[lines.index("*") :][0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", (root / "Dockerfile").read_text(), re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == allowed and "tests" not in copied
