"""Stores on top of each other act as one."""

import numpy as np
import pytest
from store_contract import StoreContract, features_of, keys_of

from llarp.vision.layered import Layered
from llarp.vision.memory import MemoryStore


class Counted(Layered):
    """Knows how many views it has: its layers never share one."""

    def __len__(self):
        return sum(map(len, self.stores))


class TestLayered(StoreContract):
    @pytest.fixture(params=[1, 2, 3])
    def store(self, request):
        return Counted(*(MemoryStore(3, 4) for _ in range(request.param)))


def test_the_first_store_that_has_a_view_gives_it():
    keys, one, two = keys_of(6), features_of(6, seed=1), features_of(6, seed=2)
    stores = MemoryStore(3, 4), MemoryStore(3, 4)
    stores[0].add(keys[:3], one[:3])
    stores[1].add(keys[2:5], two[2:5])
    features, found = Layered(*stores).get(keys)
    assert found.tolist() == [True] * 5 + [False]
    np.testing.assert_array_equal(features[:5], np.concatenate([one[:3], two[3:5]]).astype(np.float16))
    assert not features[5].any()


def test_what_is_added_goes_to_the_last_unless_another_has_it():
    keys, features = keys_of(4), features_of(4)
    under, over = MemoryStore(3, 4), MemoryStore(3, 4)
    under.add(keys[:1], features[:1])
    Layered(under, over).add(keys, features)
    assert (len(under), len(over)) == (1, 3)
