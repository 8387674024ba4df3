"""The adapters: sizes of the paper, standardised features, objects found wherever a patch shows them."""

import pytest
import torch

from llarp.errors import UserError
from llarp.policy.adapters import ActionAdapter, Adapters, ObservationAdapter


def test_with_one_visual_token_it_is_the_papers_network():
    def linears(module):
        return [(part.in_features, part.out_features) for part in module.modules() if isinstance(part, torch.nn.Linear)]

    assert linears(ObservationAdapter((1, 768), hidden=4096, width=512, scale=1.0)) == [(768, 4096), (4096, 512)]
    assert linears(ActionAdapter(4096, 512, 70)) == [(4096, 512), (512, 512), (512, 70), (512, 1)]


@pytest.mark.parametrize("shape", [(1, 6), (9, 6)])
def test_tokens_have_the_size_of_the_backbones_words(shape):
    torch.manual_seed(0)
    adapter = ObservationAdapter(shape, 32, 64, scale=0.05)
    token = adapter(torch.randn(6, *shape).half())
    assert token.shape == (6, 1, 64) and token.dtype == torch.float32
    torch.testing.assert_close(token.square().mean(-1).sqrt(), torch.full((6, 1), 0.05), rtol=0.01, atol=0)


@pytest.mark.parametrize("shape", [(1, 6), (9, 6)])
def test_standardising_undoes_shift_and_scale_of_the_features(shape):
    torch.manual_seed(0)
    features = torch.randn(40, *shape)
    shifted = 30 + 7 * features
    adapter = ObservationAdapter(shape, 16, 8, 1.0)
    adapter.standardise(features)
    expected = adapter(features)
    adapter.standardise(shifted)
    torch.testing.assert_close(adapter(shifted), expected, rtol=1e-4, atol=1e-4)


def test_a_feature_that_never_changes_does_no_harm():
    adapter = ObservationAdapter((1, 3), 16, 8, 1.0)
    adapter.standardise(torch.ones(10, 1, 3))
    assert adapter(torch.ones(1, 1, 3)).isfinite().all()


def test_standardisation_is_saved_with_the_adapters():
    assert {"observation.mean_D", "observation.std_D"} <= set(Adapters((1, 3), 16, 8, 70).state_dict())


def test_patches_that_are_no_square_grid_are_refused():
    with pytest.raises(UserError, match="5 patches are no square grid"):
        ObservationAdapter((5, 6), 16, 8, 1.0)


def test_patches_know_their_place():
    torch.manual_seed(0)
    adapter = ObservationAdapter((4, 3), 64, 8, 1.0)
    features = torch.randn(1, 4, 3)
    assert (adapter(features) - adapter(features.flip(1))).abs().max() > 1e-4


def test_it_learns_to_see_one_patch_among_many():
    """Whether any of 16 patches shows the sought pattern: what a mean alone would drown in the others."""
    torch.manual_seed(0)
    adapter = ObservationAdapter((16, 8), 64, 16, 1.0)
    readout = torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*adapter.parameters(), *readout.parameters()], lr=3e-3)
    sought = torch.randn(8)

    def sample(count):
        features, shown = torch.randn(count, 16, 8), torch.rand(count) < 0.5
        rows = shown.nonzero().squeeze(1)
        features[rows, torch.randint(16, (len(rows),))] = 3.0 * sought
        return features, shown.long()

    for _ in range(100):
        features, shown = sample(64)
        loss = torch.nn.functional.cross_entropy(readout(adapter(features)[:, 0]), shown)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features, shown = sample(500)
    assert (readout(adapter(features)[:, 0]).argmax(1) == shown).float().mean() > 0.9


def test_actions_and_values_have_the_leading_shape_of_the_states():
    logits, values = ActionAdapter(16, 8, 70)(torch.randn(3, 5, 16))
    assert logits.shape == (3, 5, 70) and values.shape == (3, 5)
