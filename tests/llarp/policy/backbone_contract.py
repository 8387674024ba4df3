"""The contract of every backbone: one frame at a time or all at once, alone or in a batch, it reads the same."""

import numpy as np
import pytest
import torch
from backbones import INSTRUCTIONS

from llarp.errors import UserError
from llarp.policy.backbone import Prefixes

T = 4


def close(left, right, tolerance=2e-5):
    torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


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
    tolerance = 2e-5

    def close(self, left, right):
        close(left, right, self.tolerance)

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
        dtype = backbone.model.dtype
        mask = torch.zeros(1, 1, size, size, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
        output = backbone.model(
            inputs_embeds=inputs_1KD.to(dtype),
            attention_mask=mask,
            position_ids=torch.arange(size)[None],
            use_cache=False,
        )
        return output.last_hidden_state[0, length:].float()

    def test_frames_at_once_equal_the_full_forward(self, backbone, frames_BTD, memory):
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        for row, ids in enumerate(backbone.tokenize(INSTRUCTIONS)):
            self.close(hidden_BTD[row], self.full_forward(backbone, ids, frames_BTD[row]))

    def test_frames_one_by_one_equal_frames_at_once(self, backbone, frames_BTD, memory):
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        cache, rows = begun(backbone, memory)
        for time in range(T):
            self.close(backbone.read(frames_BTD[:, time], [1] * len(rows), cache, rows), hidden_BTD[:, time])
        assert cache.lengths.tolist() == [0, *(len(one) + T for one in memory)]

    @pytest.mark.parametrize("lengths", [[1, 4, 2], [3, 1, 1]])
    def test_several_frames_are_read_into_a_cache_and_taken_out_of_it(self, backbone, frames_BTD, memory, lengths):
        """Rows in another order than that of the cache, and one left out; then the rest of the frames after it."""
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        cache, rows = begun(backbone, memory)
        chosen = [2, 0]
        frames_ND = torch.cat([frames_BTD[row, : lengths[row]] for row in chosen])
        hidden_ND = backbone.read(frames_ND, [lengths[row] for row in chosen], cache, rows[chosen])
        self.close(hidden_ND, torch.cat([hidden_BTD[row, : lengths[row]] for row in chosen]))
        for row in chosen:
            taken, left = cache.take(rows[row]), T - lengths[row]
            assert len(taken) == len(memory[row]) + lengths[row]
            if left:
                self.close(backbone.sequence(frames_BTD[row, -left:], [left], [taken]), hidden_BTD[row, -left:])

    def test_a_row_begun_anew_forgets(self, backbone, frames_BTD, memory):
        cache, rows = begun(backbone, memory)
        backbone.read(frames_BTD.flatten(0, 1), [T] * len(rows), cache, rows)
        cache.put(rows[0], memory[1])
        hidden_BTD = at_once(backbone, frames_BTD[:1], memory[1:2])
        self.close(backbone.read(frames_BTD[0, :1], [1], cache, rows[:1]), hidden_BTD[0, :1])

    def test_the_gradient_equals_that_of_the_full_forward(self, backbone, frames_BTD, memory):
        torch.manual_seed(2)
        weights_BTD = torch.randn(frames_BTD.shape)
        ours = frames_BTD.clone().requires_grad_()
        (at_once(backbone, ours, memory) * weights_BTD).sum().backward()
        theirs = frames_BTD.clone().requires_grad_()
        for row, ids in enumerate(backbone.tokenize(INSTRUCTIONS)):
            (self.full_forward(backbone, ids, theirs[row]) * weights_BTD[row]).sum().backward()
        assert theirs.grad.abs().max() > 0.01
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=5 * self.tolerance, atol=5 * self.tolerance)

    def test_an_episode_alone_reads_the_same_as_in_a_batch_of_other_lengths(self, backbone, frames_BTD, memory):
        hidden_BTD = at_once(backbone, frames_BTD, memory)
        for row, ids in enumerate(backbone.tokenize(INSTRUCTIONS)):
            alone = backbone.prefix([ids])
            self.close(at_once(backbone, frames_BTD[row : row + 1], alone)[0], hidden_BTD[row])
            self.close(backbone.read(frames_BTD[row, :1], [1], *begun(backbone, alone)), hidden_BTD[row, :1])

    @pytest.mark.parametrize("lengths", [[1, 4, 2], [2, 1, 1], [1, 1, 1], [4, 3, 1]])
    def test_short_episodes_that_share_a_row_read_the_same_as_alone(self, backbone, frames_BTD, memory, lengths):
        whole_BTD, packed_BTD = at_once(backbone, frames_BTD, memory), at_once(backbone, frames_BTD, memory, lengths)
        for row, length in enumerate(lengths):
            self.close(packed_BTD[row, :length], whole_BTD[row, :length])

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
        self.close(before[:, :2], after[:, :2])
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
            self.close(one.tensor, other.tensor)
        nothing = Prefixes(backbone)
        nothing(INSTRUCTIONS)
        assert len(nothing) == nothing.num_bytes == 0
