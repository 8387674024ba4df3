"""The graph of a version's lineage: stages and what they hand on, laid out in columns for a drawing."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.lineage_record import STAGE, Record, Stage
from components.model_files import LINEAGE_SHA256

if TYPE_CHECKING:
    import networkx as nx
    from mlflow.entities.model_registry import ModelVersion

_SHORT = 8
"""Digits of a hash that are shown."""
_MOST = 27
"""Letters of a line in a box."""
_BOX, _HEAD, _LINE, _PAD = 260, 44, 17, 10
"""Of a box, in pixels: its width, the height of its title and of a line, its lower edge."""
_GAP_X, _GAP_Y = 56, 26
"""To the next column and to the next box, in pixels."""


def stages(record: Record) -> "nx.DiGraph[str]":
    """Stages, with an edge from each to those that read its data; `paths` of an edge are what they read."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(record.stages)
    for writer, path, reader in record.edges():
        if graph.has_edge(writer, reader):
            graph.edges[writer, reader]["paths"].append(path)
        else:
            graph.add_edge(writer, reader, paths=[path])
    return graph


def latest_first(graph: "nx.DiGraph[str]", names: Iterable[str]) -> list[str]:
    """Some stages, each before those that it comes from."""
    import networkx as nx

    place = {name: number for number, name in enumerate(nx.topological_sort(graph))}
    return sorted(names, key=place.__getitem__, reverse=True)


@dataclass
class Box:
    """One node of the drawn graph; positions in pixels."""

    title: str
    kind: str
    """`stage`, `source` or `version`: its colour."""
    hint: str
    """Under the title."""
    link: str | None = None
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    """(text, short hash, whole text to hover for)"""
    x: float = 0
    y: float = 0
    width: float = _BOX

    @property
    def rows(self) -> "list[tuple[float, tuple[str, str, str]]]":
        """Each line with the place of its foot below the top of the box."""
        return [(_HEAD + _LINE * number - 3, line) for number, line in enumerate(self.lines, 1)]

    @property
    def height(self) -> float:
        """Of title and lines."""
        return _HEAD + _LINE * len(self.lines) + (_PAD if self.lines else 0)


@dataclass(frozen=True)
class Edge:
    """A curve from one box to another."""

    path: str
    """Of SVG."""
    hover: str
    is_long: bool
    """Passes over columns."""


@dataclass(frozen=True)
class Drawing:
    """All of it; sizes in pixels."""

    boxes: list[Box]
    edges: list[Edge]
    width: float
    height: float


def draw(version: "ModelVersion", record: Record) -> Drawing:
    """Boxes in columns, each after all that it comes from."""
    import networkx as nx

    graph = stages(record)
    boxes = _boxes(version, record, graph)
    columns = _columns(graph)
    tall = max(sum(boxes[name].height + _GAP_Y for name in column) for column in columns)
    for number, column in enumerate(columns):
        y = (tall - sum(boxes[name].height + _GAP_Y for name in column)) / 2 + _GAP_Y / 2
        for name in column:
            boxes[name].x, boxes[name].y = number * (_BOX + _GAP_X) + _PAD, y
            y += boxes[name].height + _GAP_Y
    place = {name: number for number, column in enumerate(columns) for name in column}
    kept = set(nx.transitive_reduction(graph).edges)
    edges = []
    for writer, reader, paths in graph.edges(data="paths"):
        start, end = boxes[writer], boxes[reader]
        hover = f"{writer} → {reader}: {', '.join(dict.fromkeys(paths))}"
        is_long = place[reader] - place[writer] > 1 and (writer, reader) not in kept
        edges.append(Edge(_curve(start, end), hover, is_long))
    width = len(columns) * (_BOX + _GAP_X) - _GAP_X + 2 * _PAD
    return Drawing([*boxes.values()], edges, width, tall)


def _boxes(version: "ModelVersion", record: Record, graph: "nx.DiGraph[str]") -> dict[str, Box]:
    """A box per stage, the version itself and frozen weights; the latter are added to the graph."""
    boxes = {name: _stage_box(name, stage) for name, stage in record.stages.items()}
    model, backbone, encoder = record.model, record.backbone, record.encoder
    lines = [_line(f"{len(model.files)} files", model.sha256), _line("record", version.tags.get(LINEAGE_SHA256, ""))]
    hint = ", ".join(version.aliases) or "no alias"
    boxes["version"] = Box(f"{model.name} version {version.version}", "version", hint, lines=lines)
    graph.add_edge(STAGE, "version", paths=["the version's files"])
    if "train" in boxes:
        lines = [_line("weights", str(backbone.get("sha256")))]
        boxes["backbone"] = Box(_cut(str(backbone.get("name"))), "source", "frozen backbone", lines=lines)
        graph.add_edge("backbone", "train", paths=["frozen weights"])
    if "encoder" in boxes and encoder["sha256"] not in ("", "none"):
        lines = [_line("weights", encoder["sha256"])]
        boxes["source"] = Box(_cut(encoder["source"].split("@")[0]), "source", encoder["licence"], lines=lines)
        graph.add_edge("source", "encoder", paths=["weights"])
    return boxes


def _columns(graph: "nx.DiGraph[str]") -> list[list[str]]:
    """Nodes by the longest way to them; those that nothing leads to stand right before what they lead to."""
    import networkx as nx

    column = {name: number for number, names in enumerate(nx.topological_generations(graph)) for name in names}
    for name in graph:
        if not graph.in_degree(name) and graph.out_degree(name):
            column[name] = min(column[after] for after in graph.successors(name)) - 1
    found: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for name in nx.topological_sort(graph):
        found[column[name]].append(name)
    return [names for names in found if names]


def _curve(start: Box, end: Box) -> str:
    x, y = start.x + start.width, start.y + _HEAD / 2
    to_x, to_y = end.x, end.y + _HEAD / 2
    bend = (to_x - x) / 2
    return f"M{x:.0f},{y:.0f} C{x + bend:.0f},{y:.0f} {to_x - bend:.0f},{to_y:.0f} {to_x:.0f},{to_y:.0f}"


def _stage_box(name: str, stage: Stage) -> Box:
    lines = [_line(path, md5) for path, md5 in stage.outs.items()]
    return Box(name, "stage", f"run {stage.run[:_SHORT]}" if stage.run else "no run", _link(stage), lines)


def _line(text: str, digest: str) -> tuple[str, str, str]:
    """Of a box: a path without the folder that all data are in, the beginning of its hash, and both whole."""
    return _cut(text.removeprefix("data/")), digest[:_SHORT], f"{text}  {digest}"


def _cut(text: str) -> str:
    """The end of a text that is too long: of a path it says most."""
    return text if len(text) <= _MOST else f"…{text[1 - _MOST :]}"


def _link(stage: Stage) -> str | None:
    """Address of a stage's run, when MLflow has a server."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not (stage.run and stage.experiment and server.startswith(("http://", "https://"))):
        return None
    from urllib.parse import urlsplit

    parts = urlsplit(server)
    host = parts.netloc.rpartition("@")[2]  # without a password
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/#/experiments/{stage.experiment}/runs/{stage.run}"
