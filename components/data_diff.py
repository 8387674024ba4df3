"""What differs between two versions of the data set: parameters, counts, and which episodes came and went."""

from collections.abc import Iterator
from dataclasses import dataclass

from components.data_versions import Version, episode_names, shards
from components.paths import Paths


@dataclass(frozen=True)
class SplitDiff:
    """What differs in one split; episodes are the same when their content is."""

    split: str
    before: int
    after: int
    """Episodes."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    """Names of episodes."""
    families: tuple[tuple[str, int, int], ...]
    """(family, episodes before, after) where they differ."""


@dataclass(frozen=True)
class Diff:
    """What differs between two versions."""

    params: tuple[tuple[str, object, object], ...]
    """(key, before, after) of the parameters that differ; None where a version does not have one."""
    splits: tuple[SplitDiff, ...]
    """Those in which something differs."""


def diff(paths: Paths, old: Version, new: Version) -> Diff:
    """Compares two versions; files that are the same in both are not read.

    Raises:
        UserError: the bytes of a version are not here.

    """
    keys = [*old.params, *(key for key in new.params if key not in old.params)]
    pairs = ((key, old.params.get(key), new.params.get(key)) for key in keys)
    params = tuple((key, before, after) for key, before, after in pairs if before != after)
    if old.md5 == new.md5:
        return Diff(params, ())
    contents = [
        _by_split(episode_names(paths, here, but=shards(paths, other))) for here, other in ((old, new), (new, old))
    ]
    return Diff(params, tuple(_splits(old, new, *contents)))


def _by_split(entries: Iterator[tuple[str, bytes, str]]) -> dict[str, dict[bytes, str]]:
    names: dict[str, dict[bytes, str]] = {}
    for split, content, name in entries:
        names.setdefault(split, {})[content] = name
    return names


def _splits(
    old: Version, new: Version, before: dict[str, dict[bytes, str]], after: dict[str, dict[bytes, str]]
) -> Iterator[SplitDiff]:
    was, now = ({entry.split: entry for entry in version.report.splits} for version in (old, new))
    for split in dict.fromkeys((*was, *now)):
        gone, come = before.get(split, {}), after.get(split, {})
        added = tuple(name for content, name in come.items() if content not in gone)
        removed = tuple(name for content, name in gone.items() if content not in come)
        counts = [entry.counts.get("family", {}) if entry else {} for entry in (was.get(split), now.get(split))]
        families = tuple(
            (name, counts[0].get(name, 0), counts[1].get(name, 0))
            for name in sorted({*counts[0], *counts[1]})
            if counts[0].get(name, 0) != counts[1].get(name, 0)
        )
        if added or removed or families:
            total, new_total = (entry.episodes if entry else 0 for entry in (was.get(split), now.get(split)))
            yield SplitDiff(split, total, new_total, added, removed, families)
