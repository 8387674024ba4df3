"""The texts of templates files, one by one, and the list of what is wrong with them."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llarp.tasks.language.toml_lines import Located, Problem, Tables


@dataclass(frozen=True)
class Text:
    """One text of the file."""

    id: str
    text: str
    path: Path
    line: int

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.path.name}:{self.line}"


class Texts:
    """Hands out the texts of tables and collects problems; what has one is left out."""

    def __init__(self, path: Path, tables: Tables) -> None:
        """Args:
        path: the file to blame for what is missing.
        tables: of one or several files.
        """
        self.path, self.tables = path, tables
        self.problems: list[Problem] = []
        self.text_of: dict[str, Text] = {}
        """Id to every text handed out."""

    def lists(self, table: str, keys: Collection[str]) -> Iterator[tuple[str, tuple[Text, ...]]]:
        """Key and texts of every entry of a table whose key is known."""
        for key, entry in self.tables.get(table, {}).items():
            if key in keys:
                yield key, self.texts(table, key)
            else:
                self.unknown(table, key, entry, keys)

    def texts(self, table: str, key: str) -> tuple[Text, ...]:
        """The texts of a list."""
        entry = self.tables[table][key]
        id = f"{table}.{key}"
        if not isinstance(entry.value, list) or not entry.value:
            self.problems.append(
                Problem(entry.path, entry.line, id, "not a list of texts, or an empty one", 'write ["...", "..."]')
            )
            return ()
        texts = []
        for number, (value, (path, line)) in enumerate(zip(entry.value, entry.items, strict=True)):
            text = Text(f"{id}.{number}", value, path, line)
            if isinstance(value, str) and value.strip():
                texts.append(text)
            else:
                self.wrong(text, "not a text, or an empty one", "write a sentence in quotes or take it out")
        self.text_of |= {text.id: text for text in texts}
        return tuple(texts)

    def unknown(self, table: str, key: str, entry: Located, keys: Iterable[str]) -> None:
        """A key that means nothing."""
        self.problems.append(
            Problem(entry.path, entry.line, f"{table}.{key}", "unknown name", f"have {', '.join(keys)}")
        )

    def missing(self, table: str, key: str, what: str, do: str) -> None:
        """A problem that no line has: told where the table's first entry is, or on the first line."""
        lines = [(entry.path, entry.line) for entry in self.tables.get(table, {}).values()]
        path, line = min(lines, key=lambda at: at[1], default=(self.path, 1))
        self.problems.append(Problem(path, line, key, what, do))

    def say(self, text: Text, found: Iterable[tuple[str, str]]) -> None:
        """Findings about a text: what is wrong, and what to do."""
        for what, do in found:
            self.wrong(text, what, do)

    def wrong(self, text: Text, what: str, do: str) -> None:
        """A problem of a text."""
        self.problems.append(Problem(text.path, text.line, text.id, what, do))
