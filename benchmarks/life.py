"""What the life of a model costs: a retraining with nothing to do, registering and promoting, few versions and many.

On real servers (PostgreSQL, MLflow, Prefect) and one run of the preset `test`. Everything is timed as whole processes,
imports and all, and each line gives the median of three and, where there is one, the ratio to what it is held against.

    python benchmarks/life.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "pipelines")]

from lab import opened  # noqa: E402

REPEATS = 3
FILL = """
import mlflow
from mlflow.entities import RunTag
client = mlflow.MlflowClient()
like = client.get_model_version_by_alias("llarp", "candidate")
experiment = client.get_experiment_by_name("llarp").experiment_id
for number in range(1000):
    run = client.create_run(experiment, tags={"stage": "train"}).info.run_id
    client.log_batch(run, params=[], metrics=[], tags=[RunTag("git.commit", "0" * 40)])
    client.set_terminated(run)
    if number % 10 == 0:
        client.create_model_version("llarp", f"runs:/{run}/policy", run, tags=dict(like.tags))
print(len(client.search_model_versions("name = 'llarp'", max_results=1000)))
"""
IMPORTS = "import mlflow; mlflow.MlflowClient().search_registered_models()"


def main():
    """Prints a line per figure."""
    with opened("life", "disk") as lab:
        lab.project.llarp("run", "--preset", "test")
        lab.deploy()
        lab.start_worker()
        figures(lab.project, lab)


def figures(project, lab):
    """Everything in order."""
    status = median(lambda: project.python("-m", "dvc", "status"))
    tell("dvc status", status)
    tell("llarp run, nothing to do, server up", by_hand := median(lambda: project.llarp("run")))
    print(f"    {by_hand - status:.1f} s more than dvc status")
    lab.end(lab.run("retrain", {"preset": "test"}))
    nothing = median(lambda: lab.end(lab.run("retrain", {"preset": "test"})))
    tell("deployment retrain, nothing to do, from asking to its end", nothing)
    print(f"    {nothing - status:.1f} s more than dvc status")

    lax = ("--set", "promote.max_latency_ms=100000")
    project.llarp("run", *lax)
    register = once(lambda: project.python("-m", "dvc", "repro", "--force", "--single-item", "register"))
    promote = once(lambda: project.llarp("promote", check=False))
    tell("register", register)
    tell("promote, the first champion", promote)
    project.python("-m", "dvc", "repro", "--force", "--single-item", "register")
    few = once(lambda: project.llarp("promote", check=False))
    tell("promote, against a champion", few)
    print(f"    register and promote: {register + few:.1f} s")
    imports = median(lambda: project.python("-c", IMPORTS))
    shown = median(lambda: project.llarp("lineage", "models:/llarp@champion"))
    tell("importing mlflow and asking its server", imports)
    tell("lineage", shown)

    print(f"-- {project.python('-c', FILL).stdout.splitlines()[-1]} versions, 1,000 more runs", flush=True)
    project.python("-m", "dvc", "repro", "--force", "--single-item", "register")
    many = once(lambda: project.llarp("promote", check=False))
    tell("promote, against a champion", many, few)
    shown_many = median(lambda: project.llarp("lineage", "models:/llarp@champion"))
    tell("lineage", shown_many, shown)
    print(f"    {shown_many - imports:.1f} s beyond importing mlflow and asking its server")


def once(work):
    """Seconds."""
    start_s = time.perf_counter()
    done = work()
    if isinstance(done, subprocess.CompletedProcess) and done.returncode > 1:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - start_s


def median(work):
    """Of `REPEATS`, seconds."""
    return statistics.median(once(work) for _ in range(REPEATS))


def tell(what, seconds, than=None):
    """A line."""
    ratio = f"  {seconds / than:.2f} x" if than else ""
    print(f"{what:<60}{seconds:7.1f} s{ratio}", flush=True)


if __name__ == "__main__":
    main()
