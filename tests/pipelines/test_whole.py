"""The whole pipeline with the `test` preset, in a clone of its own."""

import json
import re
import shutil

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ACT = """
import mlflow, numpy as np
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.data import store
from llarp.tasks.skills import parse

model = mlflow.pyfunc.load_model("models:/llarp@candidate")
camera = model.unwrap_python_model().params.camera
episode = store.read("data/episodes/train_validation")[0]
simulator = EmbeddedSimulator(camera)
simulator.reset(episode)
images, done = [], []
for _ in range(4):
    images.append(simulator.render())
    request = {"instruction": episode.instruction, "images": np.stack(images)}
    actions = model.predict(request)
    assert actions[:-1] == done, (actions, done)  # what was decided before is decided again
    assert model.predict([{**request, "images": request["images"].tolist()}]) == [actions]
    simulator.apply(parse(actions[-1]))
    done = actions
print("ACTED", len(done))
"""


@pytest.fixture(scope="module")
def finished(project):
    """(the project after its first run, what that run printed)."""
    done = project.llarp("run", "--preset", "test")
    return project, done.stdout + done.stderr


def test_the_run_ends_with_its_results(finished):
    project, printed = finished
    table, _, end = printed.rpartition("Model    llarp version 1, alias candidate")
    assert "Report   data/evaluation/report.html" in end and "make ui" in end
    for word in ("policy", "blind", "random", "expert", "Novel Objects", "Conditional Instructions", "Total"):
        assert word in table
    assert (project.root / "data" / "evaluation" / "report.html").stat().st_size > 10_000


def test_nothing_is_stale_and_nothing_of_git_is_touched(finished):
    project, _ = finished
    assert "up to date" in project.python("-m", "dvc", "status").stdout
    changed = project.run("git", "status", "--porcelain").stdout.split("\n")
    assert sorted(filter(None, changed)) == [" M params.yaml", "?? dvc.lock"]


def test_a_second_run_runs_no_stage(finished):
    project, _ = finished
    lock = (project.root / "dvc.lock").read_bytes()
    printed = project.llarp("run").stdout
    assert "Model    llarp version 1" in printed
    assert (project.root / "dvc.lock").read_bytes() == lock
    versions = project.python(
        "-c", "import mlflow; print(len(mlflow.MlflowClient('sqlite:///.llarp/mlflow.db').search_model_versions()))"
    )
    assert versions.stdout.strip() == "1"


def test_the_registered_model_acts_in_a_fresh_process(finished):
    project, _ = finished
    project.variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{project.root}/.llarp/mlflow.db"
    assert "ACTED 4" in project.python("-c", ACT).stdout


def test_no_file_of_the_model_is_a_backbone_or_a_pickle(finished):
    project, _ = finished
    files = [path for path in (project.root / ".llarp" / "mlartifacts").rglob("*") if path.is_file()]
    assert any(path.name == "adapters.safetensors" for path in files)
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    assert max(path.stat().st_size for path in files) < 20_000_000


def test_the_version_tells_where_it_comes_from(finished):
    project, _ = finished
    code = (
        "import json, mlflow; client = mlflow.MlflowClient('sqlite:///.llarp/mlflow.db');"
        "print(json.dumps(client.get_model_version_by_alias('llarp', 'candidate').tags))"
    )
    tags = json.loads(project.python("-c", code).stdout)
    assert tags["git.commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert tags["backbone.name"] == "all-MiniLM-L6-v2" and len(tags["backbone.sha256"]) == 64
    assert tags["dvc.data/policy"].endswith(".dir")
    assert tags["data.version"] == tags["dvc.data/episodes"]  # no version was made of these data
    assert 0 <= float(tags["eval/total/success"]) <= 1
    assert len(tags["run.train"]) == 32


def test_play_writes_a_film(finished):
    project, _ = finished
    printed = project.llarp("play", "--instruction", "Move an apple to the sofa", "--out", "play.gif").stdout
    assert (project.root / "play.gif").read_bytes().startswith(b"GIF89a")
    assert "  1. " in printed
    (project.root / "play.gif").unlink()


def test_a_stage_reports_bad_input_through_the_flow(finished):
    """A truncated file is named; DVC, Prefect and the command line pass the one line on with exit code 2."""
    project, _ = finished
    release = project.root / "data" / "release" / "episodes.parquet"
    whole, params = release.read_bytes(), (project.root / "params.yaml").read_text()
    shutil.copy(release, project.root / "kept.parquet")
    (project.root / "train.pickle").write_bytes(b"\x80\x04")
    try:
        done = project.llarp("run", "--set", "release.source=train.pickle", check=False)
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: ") and "train.pickle" in last
    finally:
        (project.root / "params.yaml").write_text(params)
        (project.root / "train.pickle").unlink()
        shutil.move(project.root / "kept.parquet", release)
    assert release.read_bytes() == whole


def test_the_lineage_is_proved_until_one_bit_changes(finished):
    project, _ = finished
    uri = "models:/llarp/1"
    assert "wrote data/policy" in project.llarp("lineage", uri).stdout
    proved = project.llarp("lineage", "verify", uri).stdout
    assert "CHANGED" not in proved and "GONE" not in proved and "artifacts/policy is data/policy" in proved
    (adapters,) = (project.root / ".llarp" / "mlartifacts").rglob("artifacts/policy/adapters.safetensors")
    whole = adapters.read_bytes()
    adapters.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        done = project.llarp("lineage", "verify", uri, check=False)
        assert done.returncode == 1
        assert re.search(r"^CHANGED +model +artifacts/policy/adapters\.safetensors ", done.stdout, re.MULTILINE)
        done = project.llarp("play", "--instruction", "Move an apple to the sofa", "--model", uri, check=False)
        assert done.returncode == 2
        assert "artifacts/policy/adapters.safetensors: not what was registered" in done.stderr
    finally:
        adapters.write_bytes(whole)


def test_the_champion_is_evaluated_in_a_workspace_of_its_own(finished):
    project, _ = finished
    assert "Promoted: version 1" in project.llarp("promote").stdout
    code = (
        "from pipelines.evaluate import evaluate; state = evaluate(return_state=True); print(state.name, state.message)"
    )
    assert project.python("-c", code).stdout.splitlines()[-1] == "Completed evaluated champion"
    assert "No workspaces." in project.llarp("workspaces", "list").stdout


def test_a_version_is_reproduced_byte_for_byte(finished):
    project, _ = finished
    done = project.llarp("reproduce", "models:/llarp/1")
    assert re.search(r"Reproduced: all \d+ inputs and outputs are the same, byte for byte", done.stdout)
    printed = done.stdout + done.stderr
    assert re.search(r"same +data/policy$", printed, re.MULTILINE) and "DIFFERS" not in printed


def test_more_views_are_added_and_what_stands_is_neither_encoded_nor_copied_again(finished):
    project, _ = finished
    folder, params = project.root / "data" / "features", project.root / "params.yaml"

    def shards():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("[!i]*.safetensors")}

    def cached():
        files = [path for path in (project.root / ".dvc" / "cache" / "files").rglob("*") if path.is_file()]
        return {path: path.stat().st_ino for path in files}

    before, kept = shards(), cached()
    params.write_text(params.read_text().replace("pool: 4", "pool: 9"))
    told = project.python("-m", "dvc", "repro", "--single-item", "features").stdout
    encoded, distinct = map(int, re.search(r"Encoded (\d+) of the (\d+) distinct views", told).groups())
    assert 0 < encoded < distinct
    assert before.items() < shards().items() and kept.items() < cached().items()
    assert "up to date" in project.python("-m", "dvc", "status", "features").stdout
