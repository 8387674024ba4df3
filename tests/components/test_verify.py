import shutil
import subprocess

import pytest
from lineage_project import flipped, lineage_project, moved

from components import lineage_record
from components.dvc_cache import Cache
from components.lineage_record import TEMPLATES
from components.paths import Paths
from components.verify import is_proved, verify
from components.who_used import who_used
from llarp.errors import UserError
from llarp.files import sha256

URI = "models:/llarp@champion"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with lineage_project(tmp_path_factory.mktemp("project")) as made:
        yield made


@pytest.fixture(scope="module")
def record(project):
    return lineage_record.read(project.version())


def bad(project, **options):
    """(what, where, state) of all that is no longer proved."""
    return [(it.what, it.where, it.state) for it in verify(URI, project.paths, **options) if it.is_bad]


def dvc(project, *arguments):
    subprocess.run(["dvc", *arguments], cwd=project.root, check=True, capture_output=True)


def test_all_matches(project):
    findings = verify(URI, project.paths)
    assert {finding.state for finding in findings} == {"matches"} and is_proved(findings)
    kinds = {finding.what for finding in findings}
    assert kinds == {
        "record", "tags", "kept file", "model", "data", "copy", "git", "template", "code", "backbone", "encoder", "runs"
    }  # fmt: skip


def test_one_bit_in_any_file_of_the_version_is_found_by_name(project):
    for name in project.listed():
        with flipped(project.model_folder() / name):
            assert ("model", name, "changed") in bad(project)


def test_one_bit_in_any_object_of_the_cache_is_found_by_name(project, record):
    everything = {path: md5 for stage in record.stages.values() for path, md5 in stage.outs.items()}
    everything |= {f"data/runs/{name}.json": stage.link for name, stage in record.stages.items() if stage.link}
    with Cache.of(project.root) as cache:
        for path, md5 in list(everything.items()):
            if md5.endswith(".dir"):
                everything |= {f"{path}/{name}": entry for name, entry in cache.listing(md5).items()}
    assert "data/episodes/train/part-00000.parquet" in everything and "data/runs/train.json" in everything
    for path, md5 in everything.items():
        with flipped(project.cached(md5)):
            assert ("data", path, "changed") in bad(project)
        with moved(project.cached(md5)):
            assert ("data", path, "gone") in bad(project)


@pytest.mark.parametrize("name", ["dvc.lock", "params.yaml"])
def test_one_bit_in_what_is_kept_with_the_run(project, name):
    with flipped(project.artifact(name)):
        assert bad(project) == [("kept file", name, "changed")]
    with moved(project.artifact(name)):
        assert bad(project) == [("kept file", name, "gone")]


def test_one_bit_in_the_record(project):
    with flipped(project.artifact("lineage.json")):
        assert bad(project) == [("record", "lineage.json", "changed")]
        with flipped(project.model_folder() / "MLmodel"):  # there are tags to compare with still
            assert bad(project) == [("record", "lineage.json", "changed"), ("model", "files", "changed")]
    with moved(project.artifact("lineage.json")):
        assert bad(project) == [("record", "lineage.json", "gone")]


@pytest.mark.parametrize("tag", ["git.commit", "dvc.data/policy", "backbone.sha256", "encoder.identity", "run.train"])
def test_a_changed_tag(project, tag):
    before = project.version().tags[tag]
    project.client.set_model_version_tag("llarp", "1", tag, before[:-1] + "0")
    try:
        assert bad(project) == [("tag", tag, "changed")]
    finally:
        project.client.set_model_version_tag("llarp", "1", tag, before)


def test_one_bit_in_the_backbone(project, record):
    weights = project.root / "backbone" / "model.safetensors"
    with flipped(weights):
        assert bad(project) == [("backbone", record.backbone["name"], "changed")]
    with moved(weights.parent):
        assert bad(project) == [("backbone", record.backbone["name"], "gone")]


def test_another_commit_in_the_place_of_the_recorded_one(project, record):
    """Git checks its own objects; a replacement is how one commit comes to show another's files."""

    def git(*arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=project.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    with flipped(project.root / TEMPLATES), flipped(project.root / "llarp" / "code.py"):
        git("commit", "--quiet", "--all", "-m", "second")
    other = git("rev-parse", "HEAD")
    git("reset", "--quiet", "--hard", record.git.commit)
    git("replace", record.git.commit, other)
    try:
        assert bad(project) == [
            ("template", TEMPLATES, "changed"),
            ("code", "code/llarp/code.py", "changed"),
            ("code", f"code/{TEMPLATES}", "changed"),
        ]
    finally:
        git("replace", "--delete", record.git.commit)
    with moved(project.root / ".git"):
        assert ("git", record.git.commit, "gone") in bad(project)


def test_a_deleted_run(project, record):
    project.client.delete_run(record.runs["train"])
    try:
        assert bad(project) == [("run", f"train {record.runs['train']}", "gone")]
    finally:
        project.client.restore_run(record.runs["train"])


def test_links_and_pickles_in_the_version_are_told_and_the_rest_is_compared(project):
    link, pickle = project.model_folder() / "link", project.model_folder() / "code" / "x.pkl"
    link.symlink_to("/etc/passwd")
    pickle.write_bytes(b"\x80\x04.")
    try:
        with flipped(project.model_folder() / "MLmodel"):
            found = bad(project)
        assert ("model", "code/x.pkl", "changed") in found and ("model", "MLmodel", "changed") in found
    finally:
        link.unlink()
        pickle.unlink()


def test_a_policy_that_is_not_the_one_that_dvc_has(project):
    """What was registered by hand from other files than the stage `train` had written."""
    adapters = project.paths.policy / "adapters.safetensors"
    with flipped(adapters):
        project.register()
    try:
        found = bad(project)
        assert found == [
            ("copy", "artifacts/policy/adapters.safetensors is data/policy/adapters.safetensors", "changed")
        ]
    finally:
        project.client.set_registered_model_alias("llarp", "champion", "1")


def test_what_the_remote_has_is_fetched(project, record, tmp_path):
    dvc(project, "remote", "add", "--default", "store", str(tmp_path / "store"))
    dvc(project, "push")
    cache, kept = project.root / ".dvc" / "cache" / "files", tmp_path / "kept"
    shutil.copytree(cache, kept)
    try:
        shutil.rmtree(cache)
        findings = [finding for finding in verify(URI, project.paths) if finding.is_bad]
        assert {finding.where for finding in findings} >= set(record.outputs)
        assert all("verify --fetch" in finding.detail for finding in findings if finding.what == "data")
        assert bad(project, fetch=True) == []
        entry = sha_of_part(project, record)
        project.cached(entry).unlink()  # the list is there, one file is not
        assert bad(project, fetch=True) == []
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(kept, cache)
        dvc(project, "remote", "remove", "store")


def sha_of_part(project, record):
    with Cache.of(project.root) as cache:
        return cache.listing(record.outputs["data/episodes"])["train/part-00000.parquet"]


def test_outside_a_project_the_data_are_gone(project, tmp_path):
    found = {finding.what: finding.state for finding in verify(URI, Paths(tmp_path))}
    assert found["data"] == "gone" and found["model"] == "matches"


def test_a_version_without_a_record_is_refused(project):
    recorded = project.version().tags["lineage.sha256"]
    project.client.delete_model_version_tag("llarp", "1", "lineage.sha256")
    try:
        with pytest.raises(UserError, match="was registered without lineage.sha256"):
            verify(URI, project.paths)
    finally:
        project.client.set_model_version_tag("llarp", "1", "lineage.sha256", recorded)


def test_who_used(project, record):
    def how(what):
        return {use.version: use.how for use in who_used(what, project.paths)}[1]

    md5 = record.outputs["data/episodes"]
    for what in (md5, md5.removesuffix(".dir"), md5[:6], md5[:8].upper()):
        assert how(what) == ("data.version", "dvc.data/episodes")
    assert how("data/episodes") == ("data.version", "dvc.data/episodes")
    assert how("data/policy/adapters.safetensors") == ("dvc.data/policy/adapters.safetensors",)
    assert "read by train: data/episodes/train" in how("data/episodes/train")
    assert how(record.git.commit[:10]) == ("git.commit",)
    assert how(record.runs["train"]) == ("run.train",)
    assert how(record.runs["register"]) == ("run.register",)
    assert how(sha256(project.paths.policy / "adapters.safetensors")) == (
        "model file artifacts/policy/adapters.safetensors",
    )
    assert how("backbone/model.safetensors") == ("backbone.sha256",)
    (use, *_) = [use for use in who_used(record.model.sha256, project.paths) if use.version == 1]
    assert use.name == "llarp" and use.aliases == ("champion",)


def test_what_nobody_used(project):
    assert who_used("0123456789abcdef", project.paths) == []
    for what in ("abcde", "data/nothing", "not-a-hash"):
        with pytest.raises(UserError, match="is neither a path here nor"):
            who_used(what, project.paths)
