"""Stores to look at."""

import pytest
from disk_stores import ENCODER
from store_contract import features_of, keys_of

from llarp.vision.store import ShardStore


@pytest.fixture
def filled(tmp_path):
    """A folder with 30 views in three shards."""
    with ShardStore.create(tmp_path / "features", ENCODER, image=(32, 48)) as store:
        for start in range(0, 30, 10):
            store.add(keys_of(30)[start : start + 10], features_of(30)[start : start + 10])
            store.flush()
    return tmp_path / "features"
