"""Dividing a rollout: every step is in one minibatch of every epoch, and none is padding."""

import numpy as np


def divide(lengths: list[int], parts: int, rng: np.random.Generator) -> list[list[int]]:
    """Groups of nearly equal numbers of steps, drawn anew in every epoch.

    Args:
        lengths: steps of each segment.
        parts: groups; some stay empty when there are fewer segments.
        rng: decides which segments share a group.

    Returns:
        Per group, numbers of segments; each segment is in one group.

    """
    groups: list[list[int]] = [[] for _ in range(parts)]
    sizes = np.zeros(parts)
    # The longest first, each where there is least so far; equal ones in random order.
    for segment in sorted(rng.permutation(len(lengths)).tolist(), key=lambda segment: -lengths[segment]):
        group = int(sizes.argmin())
        groups[group].append(segment)
        sizes[group] += lengths[segment]
    return [groups[number] for number in rng.permutation(parts)]
