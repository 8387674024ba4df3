import pytest
import yaml

from llarp.config import load_params
from llarp.errors import UserError
from pipelines import settings


@pytest.fixture
def project(tmp_path, request):
    (tmp_path / "presets").mkdir()
    (tmp_path / "incoming").mkdir()
    for name in ("params.yaml", "presets/test.yaml", "presets/laptop.yaml"):
        (tmp_path / name).write_text((request.config.rootpath / name).read_text())
    return tmp_path


def test_the_laptop_preset_is_what_the_project_comes_with(request):
    root = request.config.rootpath
    assert load_params(root / "presets" / "laptop.yaml") == load_params(root / "params.yaml")


def test_a_preset_and_then_single_keys(project):
    text = (project / "params.yaml").read_text()
    (project / "some where").mkdir()
    (project / "some where" / "train.pickle").touch()
    params, changes = settings.change(project, "test", ["train.epochs=3", "train.lr=1e-5", "release.source=some where"])
    assert params == load_params(project / "params.yaml")
    assert (params.train.epochs, params.train.lr, params.release.source) == (3, 1e-5, "some where")
    assert params.episodes == load_params(project / "presets" / "test.yaml").episodes
    before = yaml.safe_load(text)["train"]["epochs"]
    assert f"train.epochs: {before} -> 3" in map(str, changes)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in (project / "params.yaml").read_text().splitlines() if line.startswith("#")] == comments

    settings.change(project, "laptop")
    assert load_params(project / "params.yaml") == load_params(project / "presets" / "laptop.yaml")


def test_nothing_new_leaves_the_file_alone(project):
    text = (project / "params.yaml").read_text()
    _, changes = settings.change(project, None, [f"seed={yaml.safe_load(text)['seed']}"])
    assert changes == []
    assert (project / "params.yaml").read_text() == text


def test_overrides_are_laid_over_last(project):
    text = (project / "params.yaml").read_text()
    assert settings.changed(project, "test", ["seed=1"], {"seed": 2}).seed == 2
    assert (project / "params.yaml").read_text() == text
    params, _ = settings.change(project, "test", ["seed=1"], {"seed": 2, "vision.weights": None})
    assert params == load_params(project / "params.yaml") and params.seed == 2
    with pytest.raises(UserError, match="overrides: no parameter is called 'sed' — did you mean seed"):
        settings.changed(project, overrides={"sed": 1})


@pytest.mark.parametrize(
    ("preset", "assignment", "words"),
    [
        ("tset", None, "choose one of: laptop, test"),
        ("../params", None, "no preset"),
        (None, "train.epoch=3", "did you mean train.epochs?"),
        (None, "train=3", "no parameter"),
        (None, "release.source=nowhere", "nowhere: no such file or folder"),
        (None, "seed.x=3", "no parameter"),
        (None, "train.epochs", "key=value"),
        (None, "train.epochs=-1", "train.epochs"),
        (None, "train.algorithm=sarsa", "train.algorithm"),
        (None, "train.epochs=[1", "no YAML"),
        (None, "camera.width=wide", "camera.width"),
    ],
)
def test_bad_input_changes_nothing(project, preset, assignment, words):
    text = (project / "params.yaml").read_text()
    with pytest.raises(UserError) as caught:
        settings.change(project, preset, [assignment] if assignment else [])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (project / "params.yaml").read_text() == text


def test_a_file_that_is_no_yaml_is_named(project):
    (project / "params.yaml").write_text("seed: [1\n")
    with pytest.raises(UserError, match=r"params\.yaml: is no YAML"):
        settings.change(project)


def test_every_parameter_is_described(request):
    described = {key: (limits, meaning) for key, limits, meaning in settings.describe()}
    values = settings.values(load_params(request.config.rootpath / "params.yaml"))
    assert list(described) == list(values)
    assert all(meaning for _, meaning in described.values())
    assert described["seed"][0] == "int, >= 0, < 2147483648"
    assert set(values) == set(dict(settings._leaves(yaml.safe_load((request.config.rootpath / "params.yaml").open()))))
