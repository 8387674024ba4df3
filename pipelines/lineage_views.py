"""A version's lineage to look at: as data, as a tree, and as a page with a graph."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.dvc_cache import FOLDER
from components.lineage_record import Record
from components.model_files import uri_of
from pipelines import lineage_graph

if TYPE_CHECKING:
    import networkx as nx
    from mlflow.entities.model_registry import ModelVersion
    from rich.tree import Tree

_SHORT = 12
"""Digits of a hash in the tree; `who-used` takes as few."""
_PACKAGES = ("torch", "transformers", "safetensors", "mlflow")
"""Those that are named in a line."""


def as_json(version: "ModelVersion", record: Record) -> str:
    """The record, with what the registry says now: `uri`, `aliases`, `tags`."""
    now = {"uri": uri_of(version), "aliases": list(version.aliases), "tags": dict(sorted(version.tags.items()))}
    return json.dumps({**now, **record.model_dump(mode="json")}, indent=1)


def as_tree(version: "ModelVersion", record: Record) -> "Tree":
    """What a version was made from: each stage under those that read its outputs, told once."""
    from rich.markup import escape
    from rich.tree import Tree

    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    tree = Tree(f"[bold]{escape(uri_of(version))}[/]{escape(aliases)}")
    for label, text in facts(version, record, _SHORT):
        tree.add(f"[bold]{label}[/]  {escape(text)}")
    graph = lineage_graph.stages(record)
    told: set[str] = set()
    for name in lineage_graph.latest_first(graph, [name for name in graph if not graph.out_degree(name)]):
        _grow(tree, name, record, graph, told)
    return tree


def _grow(tree: "Tree", name: str, record: Record, graph: "nx.DiGraph[str]", told: set[str]) -> None:
    from rich.markup import escape

    stage = record.stages[name]
    run = f"  run {stage.run[:_SHORT]}" if stage.run else ""
    if name in told:
        tree.add(f"[bold]{name}[/]  [dim]as above[/]")
        return
    told.add(name)
    branch = tree.add(f"[bold]{name}[/][dim]{run}[/]")
    for path, md5 in stage.outs.items():
        branch.add(f"[dim]wrote[/] {escape(path)}  [dim]{md5[:_SHORT]}[/]")
    for before in lineage_graph.latest_first(graph, graph.predecessors(name)):
        _grow(branch, before, record, graph, told)


def facts(version: "ModelVersion", record: Record, digits: int | None = None) -> Iterator[tuple[str, str]]:
    """(label, line) of what is no stage; of every hash so many digits, None: all."""
    it, git, model, backbone, encoder = record.machine, record.git, record.model, record.backbone, record.encoder
    gpus = ", ".join(it["gpus"]) or "no GPU"
    flow = f", flow run {record.flow_run}" if record.flow_run else ""
    yield "registered", f"{record.time}{flow}"
    yield "machine", f"{it['host']}: {it['cpu']}, {it['cores']} cores, {it['memory_gib']} GiB, {gpus}"
    state = f"dirty: {', '.join(git.changed)}" if git.dirty else "clean"
    yield "git", f"{git.commit[:digits]}, {state}"
    yield "model", f"{len(model.files)} files, {model.bytes / 2**20:.2f} MiB, sha256 {model.sha256[:digits]}"
    for path, digest in record.files.items():
        yield path.rpartition("/")[2], f"sha256 {digest[:digits]}" if digest else "absent"
    name = version.tags.get("data.version", "unknown")
    yield "data", name[:digits] if name.endswith(FOLDER) else f"version {name}"
    revision = f" at {backbone['revision']}" if backbone.get("revision") else ""
    yield "backbone", f"{backbone.get('name')}{revision}, sha256 {str(backbone.get('sha256'))[:digits]}"
    yield "encoder", f"{encoder['source']}, licence {encoder['licence']}, identity {encoder['identity'][:digits]}"
    known = [f"{name} {record.packages[name]}" for name in _PACKAGES if name in record.packages]
    yield "packages", f"{len(record.packages)}, among them {', '.join(known)}"
    if success := version.tags.get("eval/total/success"):
        yield "success", f"{100 * float(success):.1f} %, mean of the splits of the total"


def as_page(version: "ModelVersion", record: Record) -> str:
    """One HTML file that needs nothing else: the graph, the facts, and tables of everything."""
    from jinja2 import Environment, PackageLoader

    drawing = lineage_graph.draw(version, record)
    template = Environment(loader=PackageLoader("pipelines", "."), autoescape=True).get_template("lineage.html")
    return template.render(
        uri=uri_of(version),
        aliases=list(version.aliases),
        facts=[*facts(version, record)],
        drawing=drawing,
        stages=record.stages,
        params=record.params,
        files=record.model.files,
        packages=record.packages,
        tags=dict(sorted(version.tags.items())),
    )
