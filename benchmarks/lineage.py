"""What 100 registered versions and 1,000 runs cost `llarp lineage`, against one version and five runs.

    python benchmarks/lineage.py > benchmarks/lineage-$(date +%F).txt

Every figure is of a fresh process, without importing mlflow and opening its store: the median of five.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMES = 5
VERSIONS, RUNS = 100, 1000
MEASURED = """
import contextlib, io, os, sys, time
import mlflow
from pipelines.cli import lineage
from components.paths import Paths
client = mlflow.MlflowClient()
client.search_registered_models(max_results=1)  # opens the store
begun = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
    lineage.app(sys.argv[1:], standalone_mode=False)
seconds = time.perf_counter() - begun
assert "llarp" in printed.getvalue(), printed.getvalue()
print(seconds)
"""


def make(folder: Path, versions: int, runs: int) -> None:
    """A store whose versions each have a record, ten metrics per run and the tags of a registered version."""
    import yaml
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag

    from components.lineage_record import Git, Model, Record, Stage
    from components.machine import machine

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("llarp", artifact_location=(folder / "artifacts").as_uri())
    ids = []
    for number in range(runs):
        run_id = client.create_run(experiment, tags={"stage": "register"}).info.run_id
        metrics = [Metric(f"loss/{k}", k / 7, 1, step) for k in range(10) for step in range(5)]
        client.log_batch(run_id, metrics=metrics, tags=[RunTag("git.commit", sha256(b"%d" % number).hexdigest()[:40])])
        ids.append(run_id)
    client.create_registered_model("llarp")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for number in range(1, versions + 1):

        def digest(what: str, number: int = number) -> str:
            return sha256(f"{number} {what}".encode()).hexdigest()

        stages = {
            name: Stage(
                experiment=experiment,
                run=ids[number % runs],
                deps={path: digest(path)[:32] for path in stage["deps"]},
                outs={path: digest(path)[:32] + ".dir" for path in map(_path, stage["outs"]) if "runs/" not in path},
                link=None,
            )
            for name, stage in pipeline.items()
        }
        model = Model(
            name="llarp", sha256=digest("model"), bytes=1,
            files={f"code/{k}.py": digest(str(k)) for k in range(200)},
        )  # fmt: skip
        record = Record(
            time="", model=model, git=Git(commit=digest("git")[:40], dirty=False, changed={}), stages=stages,
            params={f"train.{k}": k for k in range(100)}, files={}, machine=machine(), flow_run=None,
            backbone={"name": "b", "sha256": digest("b")},
            encoder={"source": "own", "licence": "own", "identity": digest("e"), "sha256": ""},
            packages={f"package-{k}": "1.0" for k in range(280)},
        )  # fmt: skip
        run_id, text = ids[number % runs], record.model_dump_json()
        client.log_text(run_id, text, "lineage.json")
        tags = {f"dvc.{path}": md5 for path, md5 in record.outputs.items()} | {
            f"eval/{k}/success": "0.5" for k in "abcdefghij"
        }
        tags |= {"lineage.sha256": sha256(text.encode()).hexdigest(), "model.sha256": model.sha256}
        client.create_model_version("llarp", f"runs:/{run_id}/policy", run_id, tags=tags)
    client.set_registered_model_alias("llarp", "champion", str(versions))


def measure(folder: Path, *arguments: str) -> float:
    """Seconds, the median."""
    variables = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", MEASURED, *arguments]
    outputs = [
        subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True).stdout
        for _ in range(1 + TIMES)
    ]
    return statistics.median(float(output.splitlines()[-1]) for output in outputs[1:])  # the first reads the disk


def _path(out: object) -> str:
    return next(iter(out)) if isinstance(out, dict) else str(out)


def main() -> None:
    """Makes both stores and prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        for path, versions, runs in ((few, 1, 5), (many, VERSIONS, RUNS)):
            path.mkdir()
            make(path, versions, runs)
        uri = "models:/llarp@champion"
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{many / 'mlflow.db'}")
        tag = client.get_model_version_by_alias("llarp", "champion").tags["dvc.data/policy"]
        record = json.loads(
            (
                many / "artifacts" / client.get_model_version("llarp", "7").run_id / "artifacts" / "lineage.json"
            ).read_text()
        )
        print(f"{time.strftime('%F')}: {VERSIONS} versions and {RUNS:,} runs against one version and five; seconds")
        print(f"{'command':<52}{'few':>8}{'many':>8}{'ratio':>8}")
        cases = {
            "lineage show": (("show", uri), ("show", uri)),
            "lineage show --json": (("show", uri, "--json"), ("show", uri, "--json")),
        }
        for name, (one, other) in cases.items():
            a, b = measure(few, *one), measure(many, *other)
            print(f"{name:<52}{a:>8.2f}{b:>8.2f}{b / a:>8.2f}")
        b = measure(many, "who-used", tag[:12])
        print(f"{'lineage who-used, a tag':<52}{'':>8}{b:>8.2f}")
        b = measure(many, "who-used", record["model"]["files"]["code/7.py"])
        print(f"{'lineage who-used, in the records alone':<52}{'':>8}{b:>8.2f}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
