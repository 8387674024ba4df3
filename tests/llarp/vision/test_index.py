"""Row numbers by key are those of a dictionary, whatever the keys; rows are copied as numpy does."""

import numpy as np
import pytest

from llarp.vision import index as index_module
from llarp.vision.gather import copy_rows
from llarp.vision.index import KeyIndex, first_occurrences

COUNT = 5000


def halves(low, high):
    """V16[N] keys of two uint64[N]."""
    return np.stack([low, high], 1).astype(np.uint64).view("V16").reshape(-1)


def random_keys(count, seed=0):
    return np.frombuffer(np.random.default_rng(seed).bytes(16 * count), "V16")


SEQUENCE = np.arange(COUNT, dtype=np.uint64)
KEYS = {
    "random": random_keys(COUNT),
    "equal low halves": halves(np.full(COUNT, 7), SEQUENCE * np.uint64(0x9E3779B97F4A7C15)),
    "equal high halves": halves(SEQUENCE << np.uint64(40), np.full(COUNT, 7)),
    "zero high halves": halves(SEQUENCE, np.zeros(COUNT)),
    "sequential": halves(SEQUENCE, SEQUENCE + np.uint64(1)),
    "only the top bits": halves(SEQUENCE << np.uint64(51), SEQUENCE << np.uint64(51)),
}


def same(index, known, keys):
    """Whether an index says of keys what a dictionary does."""
    return index.find(keys).tolist() == [known.get(key.tobytes(), -1) for key in keys]


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
def test_it_is_a_dictionary_that_keeps_what_came_first(keys):
    rng, index, known, row = np.random.default_rng(1), KeyIndex(), {}, 0
    while row < 2 * COUNT:
        some = keys[rng.integers(0, COUNT // 2, rng.integers(1, 700))]  # many of them twice, in one call or another
        rows = np.arange(row, row + len(some))
        expected = []
        for key, number in zip(some, rows.tolist(), strict=True):
            expected.append(key.tobytes() not in known)
            known.setdefault(key.tobytes(), number)
        assert index.insert(some, rows).tolist() == expected
        row += len(some)
    assert len(index) == len(known) and same(index, known, keys)
    assert same(index, known, random_keys(100, seed=2))


def longest_way(index):
    """Most slots in a row that are taken: no search is longer."""
    free = np.flatnonzero(np.concatenate([index.rows_S, index.rows_S]) < 0)
    return int(np.diff(free).max())


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
def test_no_keys_make_it_slow(keys):
    index = KeyIndex()
    index.insert(keys, np.arange(COUNT))
    assert longest_way(index) < 150


def test_the_key_of_zeros_is_a_key():
    index, zeros = KeyIndex(), np.zeros(1, "V16")
    assert index.find(zeros).tolist() == [-1]
    assert index.insert(np.concatenate([zeros, zeros]), np.array([5, 6])).tolist() == [True, False]
    assert index.find(zeros).tolist() == [5]


def test_no_keys_are_none():
    index, none = KeyIndex(), np.empty(0, "V16")
    assert index.insert(none, np.empty(0, int)).shape == index.find(none).shape == (0,)
    assert len(index) == len(index.trimmed()) == 0


def test_a_third_of_the_slots_stay_free():
    index = KeyIndex()
    for first in range(0, COUNT, 3):
        index.insert(KEYS["random"][first : first + 3], np.arange(first, min(first + 3, COUNT)))
        assert 3 * len(index) <= 2 * len(index.rows_S)
    assert len(index.rows_S) < 4 * COUNT


def test_what_is_trimmed_is_small_and_the_same_whatever_the_way_there():
    keys, rows, order = KEYS["random"], np.arange(COUNT), np.random.default_rng(3).permutation(COUNT)
    one, other = KeyIndex(), KeyIndex()
    one.insert(keys, rows)
    for first in range(0, COUNT, 500):
        part = order[first : first + 500]
        other.insert(keys[part], rows[part])
    one, other = one.trimmed(), other.trimmed()
    assert len(one) == COUNT and len(one.rows_S) <= COUNT * 3 // 2 + 1
    np.testing.assert_array_equal(one.rows_S, other.rows_S)
    np.testing.assert_array_equal(one.slots_S2, other.slots_S2)
    assert one.find(keys).tolist() == rows.tolist()


def test_a_table_can_be_read_from_files_that_are_only_mapped(tmp_path):
    index = KeyIndex()
    index.insert(KEYS["random"], np.arange(COUNT))
    index = index.trimmed()
    np.save(tmp_path / "slots.npy", index.slots_S2)
    np.save(tmp_path / "rows.npy", index.rows_S)
    slots, rows = (np.load(tmp_path / name, mmap_mode="r") for name in ("slots.npy", "rows.npy"))
    mapped = KeyIndex.of_table(slots, rows, COUNT)
    assert len(mapped) == COUNT and mapped.slots_S2 is slots
    assert mapped.find(KEYS["random"]).tolist() == list(range(COUNT))
    assert mapped.find(random_keys(50, seed=4)).tolist() == [-1] * 50


def test_a_search_that_comes_to_the_end_of_the_table_goes_on_at_its_beginning():
    for seed in range(200):
        keys, index = random_keys(40, seed), KeyIndex()
        index.insert(keys, np.arange(40))
        assert len(index.rows_S) == index_module._FEWEST and index.find(keys).tolist() == list(range(40))


def test_growth_keeps_every_row():
    index = KeyIndex()
    size = index_module._FEWEST
    for row, key in enumerate(KEYS["sequential"][: 4 * size]):
        index.insert(np.array([key]), np.array([row]))
        assert index.find(KEYS["sequential"][: row + 2]).tolist() == [*range(row + 1), -1]


def test_first_occurrences_number_the_distinct_in_order():
    keys = np.frombuffer(b"".join(bytes([value] * 16) for value in (7, 2, 7, 9, 2)), "V16")
    first, number = first_occurrences(keys)
    assert first.tolist() == [0, 1, 3] and number.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 4), (17, 1), (5, 768)])
def test_rows_are_copied_bit_for_bit_as_numpy_does(shape):
    rng = np.random.default_rng(0)
    sources = [rng.integers(0, 2**16, (count, *shape), np.uint16).view(np.float16) for count in (1, 7, 30)]
    pairs = [(source, row) for source in sources for row in range(len(source))]
    chosen = [pairs[place] for place in rng.integers(0, len(pairs), 20)]
    places = rng.permutation(25)[:20]
    target = np.zeros((25, *shape), np.float16)
    expected = target.copy()
    for place, (source, row) in zip(places, chosen, strict=True):
        expected[place] = source[row]
    width = 2 * shape[0] * shape[1]
    copy_rows(np.array([source.ctypes.data + row * width for source, row in chosen]), places, target)
    assert target.tobytes() == expected.tobytes()


def test_no_row_is_copied_where_there_is_none():
    target = np.ones((2, 3, 4), np.float16)
    copy_rows(np.empty(0, np.int64), np.empty(0, np.int64), target)
    assert (target == 1).all()
