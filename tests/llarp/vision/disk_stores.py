"""What tests of stores on disk share: encoders, and looking at a folder and at what is refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from llarp.errors import UserError
from llarp.vision.manifest import MANIFEST

ENCODER = SimpleNamespace(identity="a" * 64, num_tokens=3, dim=4)
OTHER = SimpleNamespace(identity="b" * 64, num_tokens=3, dim=4)


def shards(folder):
    return [folder / shard["file"] for shard in json.loads((folder / MANIFEST).read_text())["shards"]]


def index_file(folder):
    return folder / json.loads((folder / MANIFEST).read_text())["index"]["file"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def holds(store, keys, features):
    """Whether a store has exactly these features under these keys."""
    got, found = store.get(keys)
    return found.all() and np.array_equal(got, features.astype(np.float16))


def refusal(call):
    """The one line that a UserError says."""
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
