import hashlib

import pytest
from lineage_project import flipped, lineage_project

from components import lineage_record, model_files
from components.lineage_record import TEMPLATES
from llarp.errors import UserError
from llarp.files import sha256


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with lineage_project(tmp_path_factory.mktemp("project")) as made:
        yield made


@pytest.fixture(scope="module")
def record(project):
    return lineage_record.read(project.version())


def test_the_record_holds_what_made_the_version(project, record):
    assert record.model.name == "llarp"
    assert record.model.files["artifacts/policy/adapters.safetensors"] == sha256(
        project.paths.policy / "adapters.safetensors"
    )
    assert not record.git.dirty and record.git.changed == {}
    assert list(record.outputs) == [
        "data/episodes", "data/encoder", "data/probe.json", "data/policy", "data/evaluation/summary.json"
    ]  # fmt: skip
    assert record.params["train.epochs"] == 5 and record.params["seed"] == 7
    assert record.files[TEMPLATES] == sha256(project.root / TEMPLATES)
    assert record.backbone["revision"] is None and record.encoder["licence"] == "own"
    assert record.packages["mlflow"] and record.machine["cores"] >= 1
    assert record.flow_run == "flow-7"
    assert set(record.runs) == {"episodes", "encoder", "train", "evaluate", "register"}
    assert record.runs["register"] == project.version().run_id


def test_stages_are_joined_by_what_they_read(record):
    edges = {(writer, reader) for writer, _, reader in record.edges()}
    assert edges == {
        ("episodes", "encoder"), ("episodes", "train"), ("episodes", "evaluate"), ("encoder", "train"),
        ("encoder", "evaluate"), ("encoder", "register"), ("train", "evaluate"), ("train", "register"),
        ("evaluate", "register"),
    }  # fmt: skip


def test_tags_hold_digests_and_no_big_values(project):
    tags = project.version().tags
    assert tags["model.sha256"] == model_files.digest(model_files.copy(project.version()))
    assert tags["lineage.sha256"] == sha256(project.artifact("lineage.json"))
    assert int(tags["model.bytes"]) == model_files.size(project.model_folder())
    assert max(map(len, tags.values())) < 200


def test_what_restores_every_stage_is_kept_with_the_run(project, record):
    for path in (project.paths.lock, project.paths.params):
        kept = model_files.read_artifact(project.version().run_id, path.name)
        assert kept == path.read_bytes()
        assert hashlib.sha256(kept).hexdigest() == record.files[path.name]


def test_changed_code_is_named_with_its_hash(project):
    code, new = project.root / "llarp" / "code.py", project.root / "llarp" / "new.py"
    new.write_text("y = 1\n")
    try:
        with flipped(code):
            number = project.register()
            expected = {"llarp/code.py": sha256(code), "llarp/new.py": sha256(new)}
    finally:
        new.unlink()
        project.client.set_registered_model_alias("llarp", "champion", "1")
    git = lineage_record.read(project.version(number)).git
    assert git.dirty and git.changed == expected


def test_a_changed_or_missing_record_is_refused(project):
    with flipped(project.artifact("lineage.json")), pytest.raises(UserError, match=r"lineage\.json is not the one"):
        lineage_record.read(project.version())
    with flipped(project.artifact("lineage.json")):
        project.artifact("lineage.json").unlink()
        with pytest.raises(UserError, match=r"lineage\.json of run \w+ is gone"):
            lineage_record.read(project.version())


def test_a_record_of_another_kind_is_refused():
    with pytest.raises(UserError, match="is none of ours: format"):
        lineage_record.parse(b'{"format": 2}', "here")
