"""params.yaml: what is accepted, and what is refused with which words."""

from pathlib import Path

import pytest
import yaml

from llarp.config import Params, load_params, validate
from llarp.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def values():
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def test_the_committed_parameters_are_valid():
    assert isinstance(load_params(ROOT / "params.yaml"), Params)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda v: v["train"].update(epoch=3), "train.epoch"),
        (lambda v: v["train"].update(epochs="many"), "train.epochs"),
        (lambda v: v["train"].update(lr=2.0), "train.lr"),
        (lambda v: v["policy"].pop("hidden"), "policy.hidden"),
        (lambda v: v.update(seed=-1), "seed"),
        (lambda v: v.update(extra={}), "extra"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(values, change, key):
    change(values)
    with pytest.raises(UserError) as error:
        validate(values, "params.yaml")
    assert f"key {key}:" in str(error.value) and "params.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_all_wrong_keys_are_counted(values):
    values["train"]["lr"] = 2.0
    values["seed"] = -1
    with pytest.raises(UserError, match="and 1 more"):
        validate(values, "params.yaml")


def test_missing_and_broken_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_params(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1, 2")
    with pytest.raises(UserError, match="is no YAML"):
        load_params(tmp_path / "broken.yaml")


def test_every_field_says_what_it_is():
    for section in Params.model_fields.values():
        fields = getattr(section.annotation, "model_fields", {})
        for name, field in fields.items():
            assert field.description, f"{section.annotation.__name__}.{name} has no description"
