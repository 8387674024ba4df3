"""Packed maps give the numbers and gradients of plain ones, and follow their weights."""

import pytest
import torch
from torch.nn import functional

from llarp.policy import packed_linear
from llarp.policy.packed_linear import PackableLinear, PackedLinear, can_pack, packed


@pytest.fixture(params=["packed", "plain"])
def packs(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(packed_linear, "can_pack", lambda: False)
    elif not can_pack():
        pytest.skip("this torch has no oneDNN")


@pytest.mark.parametrize("rows", [1, 7, 32, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_a_plain_map(packs, rows, bias):
    torch.manual_seed(0)
    weight, x = torch.randn(48, 33), torch.randn(rows, 33, requires_grad=True)
    b = torch.randn(48) if bias else None
    out = torch.randn(rows, 48)
    ours, theirs = PackedLinear(weight, b)(x), functional.linear(x, weight, b)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    (mine,), (yours,) = torch.autograd.grad(ours, x, out), torch.autograd.grad(theirs, x, out)
    torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-5)


def test_a_trained_map_is_packed_for_a_while_and_then_learns_on(packs):
    torch.manual_seed(0)
    linear, x = PackableLinear(8, 5), torch.randn(3, 2, 8)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        with torch.no_grad(), packed(torch.nn.Sequential(linear)):
            assert (linear.packed is not None) == packed_linear.can_pack()
            expected = functional.linear(x, linear.weight, linear.bias)
            torch.testing.assert_close(linear(x), expected, rtol=1e-5, atol=1e-5)
        assert linear.packed is None
        linear(x).square().sum().backward()
        optimizer.step()
    assert set(linear.state_dict()) == {"weight", "bias"}


def test_what_is_not_a_number_comes_out_as_such(packs):
    x = torch.randn(4, 8)
    x[2, 3] = torch.nan
    assert torch.equal(PackedLinear(torch.randn(5, 8))(x).isnan().any(1), torch.tensor([False, False, True, False]))
