"""How many looks an asset has, and which of them training never sees.

A variant is a number that shifts an asset's colours and size (`llarp.sim.drawing.looks` says by how much). Without
variants a frame could be looked up; with them it must be read.
"""

NUM_VARIANTS = 12
"""Variants of every asset, numbered from 0."""

HELD_OUT_VARIANTS: frozenset[int] = frozenset({3, 7, 11})
"""Never used by training episodes."""


def training_variants() -> tuple[int, ...]:
    """The variants that training episodes draw from."""
    return tuple(number for number in range(NUM_VARIANTS) if number not in HELD_OUT_VARIANTS)


def held_out_variants() -> tuple[int, ...]:
    """The variants that only evaluation episodes draw from."""
    return tuple(sorted(HELD_OUT_VARIANTS))
