import json
import os

import mlflow
import pytest
from lineage_project import flipped, lineage_project

from components import model_files
from components.model_files import check_paths, digest, digests, fetch
from llarp.errors import UserError
from pipelines.models import load

URI = "models:/llarp@champion"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with lineage_project(tmp_path_factory.mktemp("project")) as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "code" / "b.py").write_text("x = 1\n")
    return tmp_path


def described(folder, **flavor):
    """A folder with an MLmodel."""
    python = {"loader_module": "mlflow.pyfunc.loaders.code_model", **flavor}
    (folder / "MLmodel").write_text(json.dumps({"flavors": {"python_function": python}}))
    return folder


def test_the_digest_knows_every_file_by_name_and_bytes(folder):
    before = digests(folder)
    assert list(before) == ["a.json", "code/b.py"] and digest(folder) == digest(before)
    (folder / "a.json").rename(folder / "c.json")
    assert digest(folder) != digest(before)


def test_what_mlflow_and_python_write_into_a_version_is_no_part_of_it(folder):
    before = digest(folder)
    (folder / "registered_model_meta").write_text("model_name: llarp\n")
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"code")
    assert digest(folder) == before


@pytest.mark.parametrize("name", ["python_model.pkl", "code/weights.PT", "code/x.bin", "code/y.joblib", "z.pyc"])
def test_pickles_are_refused(folder, name):
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=f"{name}: may be a pickle"):
        digests(folder)


def test_links_and_pipes_are_refused(folder):
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="link: is a link"):
        digests(folder)
    (folder / "link").unlink()
    (folder / "code" / "away").symlink_to("/etc", target_is_directory=True)
    with pytest.raises(UserError, match="code/away: is a link"):
        digests(folder)
    (folder / "code" / "away").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match="pipe: is neither"):
        digests(folder)


@pytest.mark.parametrize("path", ["../policy", "/etc", "artifacts/../../policy"])
@pytest.mark.parametrize("key", ["artifacts", "code", "data"])
def test_paths_outside_the_folder_are_refused(tmp_path, path, key):
    value = {"policy": {"path": path}} if key == "artifacts" else path
    with pytest.raises(UserError, match="outside the version's folder"):
        check_paths(described(tmp_path, **{key: value}))


def test_a_model_that_is_not_loaded_as_code_is_refused(tmp_path):
    check_paths(described(tmp_path, artifacts={"policy": {"path": "artifacts/policy"}}, code="code"))
    for flavor in ({"loader_module": "os"}, {"python_model": "python_model.pkl"}):
        with pytest.raises(UserError, match="not as code"):
            check_paths(described(tmp_path, **flavor))
    (tmp_path / "MLmodel").write_text("- no model\n")
    with pytest.raises(UserError, match="does not describe a model"):
        check_paths(tmp_path)


def test_what_is_checked_is_what_is_loaded(project):
    folder = fetch(URI)
    assert not folder.is_relative_to(project.root)  # a private copy: nobody else writes in it
    assert folder.parent.stat().st_mode & 0o077 == 0
    assert load(URI).answer == "trained"
    assert mlflow.pyfunc.load_model(URI).predict([0]) == "trained"  # MLflow writes into the version's folder
    assert load("models:/llarp/1").answer == "trained"


def test_a_changed_file_is_refused_by_name(project):
    for name in project.listed():
        with flipped(project.model_folder() / name), pytest.raises(UserError, match=f"{name}: not what was registered"):
            load(URI)


def test_a_file_too_many_or_too_few_is_refused_by_name(project):
    added = project.model_folder() / "code" / "llarp" / "more.py"
    added.write_text("x = 2\n")
    try:
        with pytest.raises(UserError, match="code/llarp/more.py: not what was registered"):
            fetch(URI)
    finally:
        added.unlink()
    with flipped(project.model_folder() / "MLmodel"):
        (project.model_folder() / "MLmodel").unlink()
        with pytest.raises(UserError, match="MLmodel: not what was registered"):
            fetch(URI)


def test_links_in_the_store_are_never_followed(project):
    link = project.model_folder() / "artifacts" / "passwd"
    link.symlink_to("/etc/passwd")
    try:
        with pytest.raises(UserError, match="artifacts/passwd: is a link"):
            fetch(URI)
    finally:
        link.unlink()


def test_a_version_without_a_digest_is_refused(project):
    recorded = project.version().tags[model_files.MODEL_SHA256]
    project.client.delete_model_version_tag("llarp", "1", model_files.MODEL_SHA256)
    try:
        with pytest.raises(UserError, match="before hashes of its files were recorded — register it again"):
            load(URI)
    finally:
        project.client.set_model_version_tag("llarp", "1", model_files.MODEL_SHA256, recorded)


@pytest.mark.parametrize("uri", ["models:/llarp@nobody", "models:/llarp/99", "models:/nobody/1"])
def test_there_is_no_such_version(project, uri):
    with pytest.raises(UserError, match="no such model"):
        fetch(uri)


@pytest.mark.parametrize("uri", ["llarp", "models:/llarp", "models:/llarp/latest", "runs:/1/policy", "/etc"])
def test_only_versions_are_named(project, uri):
    with pytest.raises(UserError, match="names no version"):
        fetch(uri)
