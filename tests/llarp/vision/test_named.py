"""What `vision.encoder` names is read from this machine or from the hub, there only as it is pinned."""

import os

import numpy as np
import pytest
import torch
from plain_vit import SMALL, checkpoint_tensors
from vit_folders import write_vit

from llarp.config import VisionConfig
from llarp.errors import UserError
from llarp.files import sha256
from llarp.vision import named
from llarp.vision.named import NAMED, VC1, named_encoder
from llarp.vision.vc1 import BASE, LARGE, load_vc1

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config(encoder, **more):
    values = {
        "weights": None, "output": "cls", "frames": 64, "epochs": 1, "batch_size": 16, "lr": 1e-3, "mask_ratio": 0.75,
        "patch": 8, "dim": 16, "depth": 1, "heads": 2,
    }  # fmt: skip
    return VisionConfig(encoder=encoder, **values | more)


@pytest.fixture
def small(monkeypatch):
    """VC-1's names with small networks; their true shapes are tested apart."""
    monkeypatch.setattr(named, "NAMED", {name: VC1(SMALL, choice.licence) for name, choice in NAMED.items()})


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "vc1_vitb.pth"
    torch.save({"model": checkpoint_tensors()}, path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's local cache, laid out as its library does, with no network: gives the folder of a model's commit."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def snapshot(name, commit=COMMIT):
        model = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (model / "refs").mkdir(parents=True)
        (model / "refs" / "main").write_text(commit)
        folder = model / "snapshots" / commit
        folder.mkdir(parents=True)
        return folder

    return snapshot


def test_the_true_shapes_and_licences_are_those_of_the_paper():
    assert NAMED == {
        "vc1-base": ((768, 12, 16, 14, 3072), "CC-BY-NC-4.0"),
        "vc1-large": ((1024, 24, 16, 14, 4096), "CC-BY-NC-4.0"),
        "vc1-large-permissive": ((1024, 24, 16, 14, 4096), "MIT"),
    }
    assert sum(int(np.prod(size)) for size in BASE.tensors().values()) == 85_798_656  # ViT-B/16 without a head
    assert sum(int(np.prod(size)) for size in LARGE.tensors().values()) == 303_301_632


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("is_checked", [False, True])
def test_vc1_is_read_from_a_file(small, checkpoint, name, is_checked):
    digest = sha256(checkpoint)
    encoder = named_encoder(
        config(name, weights=str(checkpoint), output="mean", sha256=digest.upper() if is_checked else None)
    )
    assert encoder.identity == load_vc1(checkpoint, "mean").identity
    origin = encoder.provenance
    assert (origin.source, origin.sha256) == (f"{name} from vc1_vitb.pth", digest)
    assert origin.licence == NAMED[name].licence
    assert ("not for commercial use; vc1-large-permissive is MIT" in origin.notice) == (name != "vc1-large-permissive")


@pytest.mark.parametrize("name", NAMED)
def test_a_file_of_another_shape_does_not_pass_for_it(checkpoint, name):
    with pytest.raises(UserError, match=r"lacks tensors \(\d+\): blocks.*misshapen") as caught:
        named_encoder(config(name, weights=str(checkpoint)))
    assert "\n" not in str(caught.value)


def test_the_digest_is_checked_before_anything_is_parsed(small, tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(b"no checkpoint at all")
    with pytest.raises(UserError, match=r"evil.pth: its sha256 is [0-9a-f]{64}, not the 0000 of vision.sha256"):
        named_encoder(config("vc1-base", weights=str(path), sha256="0000"))


def test_a_missing_file_is_named(small, tmp_path):
    with pytest.raises(UserError, match="vision.weights: .*nothing.pth cannot be read"):
        named_encoder(config("vc1-base", weights=str(tmp_path / "nothing.pth")))
    with pytest.raises(UserError, match="cannot be read"):
        named_encoder(config("vc1-base", weights=str(tmp_path)))


def test_vc1_is_read_from_the_hub_as_pinned(small, hub, checkpoint):
    path = hub("facebook/vc1-large-permissive") / "pytorch_model.bin"
    path.write_bytes(checkpoint.read_bytes())
    encoder = named_encoder(config("vc1-large-permissive", revision=COMMIT, sha256=sha256(path)))
    assert encoder.provenance.source == f"facebook/vc1-large-permissive@{COMMIT}"
    assert (encoder.provenance.sha256, encoder.provenance.licence) == (sha256(path), "MIT")
    assert encoder.identity == load_vc1(checkpoint).identity


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sha256": "0" * 64}, "vision.revision: is missing.*40 digits.*huggingface.co/facebook/vc1-base/commits"),
        ({"revision": "main", "sha256": "0" * 64}, "vision.revision: 'main' pins nothing"),
        ({"revision": COMMIT[:7], "sha256": "0" * 64}, "vision.revision: '0123456' pins nothing"),
        ({"revision": COMMIT}, "vision.sha256: is missing: pytorch_model.bin of facebook/vc1-base is a pickle"),
        ({"revision": COMMIT, "sha256": "0" * 64}, "its sha256 is .*, not the 0000"),
        ({"revision": "f" * 40, "sha256": "0" * 64}, "encoder facebook/vc1-base at revision f{40}: cannot be fetched"),
    ],
)  # fmt: skip
def test_from_the_hub_nothing_is_taken_without_its_pins(small, hub, checkpoint, more, words):
    (hub("facebook/vc1-base") / "pytorch_model.bin").write_bytes(checkpoint.read_bytes())
    with pytest.raises(UserError, match=words) as caught:
        named_encoder(config("vc1-base", **more))
    assert "\n" not in str(caught.value)


def test_a_snapshot_without_the_file_is_refused(small, hub):
    hub("facebook/vc1-base")
    with pytest.raises(UserError, match="cannot be (read|fetched)"):
        named_encoder(config("vc1-base", revision=COMMIT, sha256="0" * 64))


def test_a_vit_is_read_from_a_folder(tmp_path):
    write_vit(tmp_path / "vit", "classifier")
    encoder = named_encoder(config(str(tmp_path / "vit"), output="patches"))
    digest = sha256(tmp_path / "vit" / "model.safetensors")
    assert (encoder.num_tokens, encoder.dim) == (16, 32)
    assert (encoder.provenance.source, encoder.provenance.sha256) == ("vit", digest)
    assert named_encoder(config(str(tmp_path / "vit"), output="patches", sha256=digest)).identity == encoder.identity
    with pytest.raises(UserError, match="model.safetensors: its sha256 is"):
        named_encoder(config(str(tmp_path / "vit"), sha256="0" * 64))


def test_an_encoder_of_another_project_keeps_its_provenance(small, checkpoint, tmp_path):
    first = named_encoder(config("vc1-base", weights=str(checkpoint)))
    first.save(tmp_path / "encoder")
    again = named_encoder(config(str(tmp_path / "encoder"), output="patches"))
    assert again.provenance == first.provenance and again.num_tokens == 16


def test_a_vit_is_read_from_the_hub_as_pinned(hub):
    folder = hub("facebook/vit-mae-base")
    write_vit(folder, "autoencoder")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    encoder = named_encoder(config("facebook/vit-mae-base", revision=COMMIT))
    assert encoder.provenance.source == f"facebook/vit-mae-base@{COMMIT}"
    assert (encoder.provenance.licence, encoder.provenance.sha256) == (
        "apache-2.0",
        sha256(folder / "model.safetensors"),
    )
    with pytest.raises(UserError, match="model.safetensors: its sha256 is"):
        named_encoder(config("facebook/vit-mae-base", revision=COMMIT, sha256="0" * 64))
    for revision in (None, "main"):
        with pytest.raises(UserError, match="vision.revision"):
            named_encoder(config("facebook/vit-mae-base", revision=revision))


def test_of_a_vit_of_the_hub_neither_code_nor_pickles_are_fetched(monkeypatch, tmp_path):
    import huggingface_hub

    write_vit(tmp_path)
    asked = []

    def fetch(name, revision, allow_patterns):
        asked.extend([name, revision, *allow_patterns])
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    named_encoder(config("org/name", revision=COMMIT))
    assert asked == ["org/name", COMMIT, "config.json", "model.safetensors", "preprocessor_config.json", "README.md"]


@pytest.mark.parametrize("name", ["vc1-huge", "nowhere/at/all", "a folder"])
def test_what_has_no_such_name_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="neither a known encoder"):
        named_encoder(config(name))


def test_weights_are_vc1s_alone(tmp_path, checkpoint):
    write_vit(tmp_path / "vit")
    with pytest.raises(UserError, match="vision.weights: is read for vc1-base"):
        named_encoder(config(str(tmp_path / "vit"), weights=str(checkpoint)))


def test_an_unreadable_cache_is_one_line(small, hub, checkpoint):
    path = hub("facebook/vc1-base") / "pytorch_model.bin"
    os.symlink("nowhere", path)
    with pytest.raises(UserError, match="cannot be (read|fetched)") as caught:
        named_encoder(config("vc1-base", revision=COMMIT, sha256="0" * 64))
    assert "\n" not in str(caught.value)
