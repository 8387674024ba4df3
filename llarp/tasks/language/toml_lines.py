"""The templates file as located texts: TOML whose every key and list item knows its line, and what is wrong with it."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NESTED: frozenset[str] = frozenset({"facts"})
"""Tables of tables: `[facts.origin]` is read as a table of that name."""

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)"""
    r"""|(?P<text>"{3}(?:\\.|[^\\])*?"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
    r"""|(?P<mark>[\[\]{}=,\n])|(?P<bare>[^\s\[\]{}=,\#"']+)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a templates file."""

    path: Path
    line: int
    key: str
    """Table, key and number in the list, as in `train.move_to.3`; empty for the whole file."""
    what: str
    do: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.key}{': ' if self.key else ''}{self.what}, {self.do}"


@dataclass(frozen=True)
class Located:
    """A value of the file and the lines where it stands."""

    value: Any
    path: Path
    line: int
    """Of its key."""
    items: tuple[tuple[Path, int], ...] = ()
    """Where each item stands, if the value is a list."""

    def __add__(self, more: "Located") -> "Located":
        """A list that goes on in another file."""
        return Located(self.value + more.value, self.path, self.line, self.items + more.items)


Tables = Mapping[str, Mapping[str, Located]]
"""Table, then key, to what stands there."""


def read(path: Path) -> tuple[Tables, list[Problem]]:
    """The tables of a file, and what is wrong with it as a file: unreadable, no TOML, or keys outside of tables."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        return {}, [Problem(path, 1, "", f"cannot be read ({error.strerror})", "name a templates file")]
    except UnicodeDecodeError:
        return {}, [Problem(path, 1, "", "is no UTF-8 text", "save it as UTF-8")]
    except tomllib.TOMLDecodeError as error:
        line = int(found[1]) if (found := re.search(r"at line (\d+)", str(error))) else 1 + text.count("\n")
        what = re.sub(r" \(at .*", "", str(error)).lower()
        return {}, [Problem(path, line, "", f"is no TOML: {what}", "mend this line or the one before")]
    lines = _lines(text)
    tables: dict[str, dict[str, Located]] = {}
    problems = []
    for name, body in content.items():
        parts = {f"{name}.{key}": inner for key, inner in body.items()} if name in NESTED else {name: body}
        for table, entries in parts.items():
            line, _ = lines.get((table,), (1, ()))
            if not isinstance(entries, dict):
                line, _ = lines.get(("", name), (line, ()))
                problems.append(Problem(path, line, table, "is no table", f"write [{table}] above its entries"))
                continue
            tables[table] = {
                key: _located(value, path, *lines.get((table, key), (line, ()))) for key, value in entries.items()
            }
    return tables, problems


def merged(files: Iterable[Tables]) -> Tables:
    """Several files as one. Of two lists under one key the second continues the first; else the later value stands."""
    result: dict[str, dict[str, Located]] = {}
    for tables in files:
        for table, entries in tables.items():
            mine = result.setdefault(table, {})
            for key, value in entries.items():
                before = mine.get(key)
                goes_on = before is not None and isinstance(before.value, list) and isinstance(value.value, list)
                mine[key] = before + value if before is not None and goes_on else value
    return result


def _located(value: Any, path: Path, line: int, item_lines: tuple[int, ...]) -> Located:
    if not isinstance(value, list):
        return Located(value, path, line)
    if len(item_lines) != len(value):  # the file is written in a way that the scanner does not follow
        item_lines = (line,) * len(value)
    return Located(value, path, line, tuple((path, item) for item in item_lines))


def _lines(text: str) -> dict[tuple[str, ...], tuple[int, tuple[int, ...]]]:
    """(table,) and (table, key) to the line where each stands and those of the items of its list."""
    found: dict[tuple[str, ...], tuple[int, tuple[int, ...]]] = {}
    table = ""
    for tokens in _statements(text):
        words = [token for token, _ in tokens]
        line = tokens[0][1]
        if words[0] == "[":
            table = ".".join(_bare(word) for word in words if word not in "[]")
            found[table,] = line, ()
        elif "=" in words:
            at = words.index("=")
            key = "".join(_bare(word) for word in words[:at])
            found[table, key] = line, tuple(_item_lines(tokens[at + 1 :]))
    return found


def _statements(text: str) -> Iterator[list[tuple[str, int]]]:
    """Headers and entries, each as its tokens with their lines; comments left out."""
    tokens: list[tuple[str, int]] = []
    depth, line, position = 0, 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        token = match[0]
        depth += (token in "[{") - (token in "]}") if match["mark"] else 0
        if token == "\n":
            if tokens and depth == 0:
                yield tokens
                tokens = []
        elif not match["comment"]:
            tokens.append((token, line))
    if tokens:
        yield tokens


def _item_lines(tokens: list[tuple[str, int]]) -> Iterator[int]:
    """The line on which each item of a list begins."""
    depth, fresh = 0, False
    for token, line in tokens:
        if fresh and depth == 1 and token not in ",]":
            yield line
            fresh = False
        depth += (token in "[{") - (token in "]}")
        fresh = fresh or (depth == 1 and token in "[,")


def _bare(word: str) -> str:
    return word.strip("\"'")
