"""Faults on real servers, and what comes of them: `make faults` prints the table of docs/faults.md.

Every row is a run of the whole pipeline (preset `test`) through a deployment, on PostgreSQL, MLflow, Prefect and an
S3, with something killed, stopped or taken away in the middle. Afterwards it is compared with a run that was left
alone: the hashes of all data, every point of every curve, and what the registry holds.
"""

import argparse
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from lab import flow_of, kill_tree, opened, stage_processes  # noqa: E402

from components.launch import RANK  # noqa: E402
from pipelines.reproduce import TIMED  # noqa: E402
from pipelines.server import free_port  # noqa: E402
from pipelines.services.object_store import Moto  # noqa: E402

MIDDLE = 0.6
"""Share of the life of a stage's process, in the run that was left alone, after which something happens to it."""
STAGES = ("release", "episodes", "encoder", "features", "train", "evaluate", "register")
THIRDS = {1: STAGES[:3], 2: STAGES[3:5], 3: STAGES[5:]}
"""A run that crashes a fourth time is given up, so one run cannot show all stages."""
PARAMETERS = {"preset": "test"}
HISTORY = """
import json, mlflow, sys
client = mlflow.MlflowClient()
run = json.load(open({link!r}))["run_id"]
timed = {{"system", "time", "speed", "s"}}  # no two runs share these
names = sorted(name for name in client.get_run(run).data.metrics if not timed & set(name.split("/")))
curves = {{name: [(point.step, point.value) for point in client.get_metric_history(run, name)] for name in names}}
versions = client.search_model_versions("name = 'llarp'")
aliases = client.get_registered_model("llarp").aliases
print(json.dumps([curves, sorted(int(each.version) for each in versions), aliases, client.get_run(run).info.status]))
"""


class Faults:
    """Runs one fault after the other and keeps a row for each."""

    def __init__(self, lab):
        self.lab, self.rows, self.whole = lab, [], None
        self.has_failed = False
        self.versions, self.seconds = 0, dict.fromkeys(STAGES, 0.0)

    def fresh(self):
        """Makes everything stale: the same parameters are run from the beginning."""
        root = self.lab.project.root
        (root / ".llarp" / "dvc.lock").unlink(missing_ok=True)
        for folder in (root / ".dvc" / "cache" / "runs", root / ".llarp" / "features"):
            shutil.rmtree(folder, ignore_errors=True)

    def left_alone(self):
        """The run that all others are compared with."""
        run = self.begin()
        while not (state := self.lab.state(run)).is_final():
            for stage in STAGES:
                for process in stage_processes(self.lab.workspace(run), f"components.{stage}")[:1]:
                    self.seconds[stage] = time.time() - process.info["create_time"]
            time.sleep(0.1)
        assert state.is_completed(), state.message
        self.whole = self.look(run)
        self.row("none", "", run)

    def begin(self, **parameters):
        self.fresh()
        return self.lab.run("retrain", PARAMETERS | parameters)

    def end(self, run):
        """Waits for the end; a crash is none, for crashed runs are started again."""
        return self.lab.wait(run, lambda state: state.is_final() and not state.is_crashed(), 900)

    def at(self, run, stage, ranks=1, limit_s=400):
        """Waits until a stage works in the run's workspace; returns its processes."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            found = stage_processes(self.lab.workspace(run), f"components.{stage}")
            if len(found) >= ranks and time.time() - found[0].info["create_time"] > MIDDLE * self.seconds[stage]:
                return found
            state = self.lab.state(run)
            assert not state.is_final() or state.is_crashed(), f"{state.name}: {state.message}"
            time.sleep(0.05)
        raise AssertionError(f"{stage} never began\n{self.lab.worker_log()[-3000:]}")

    def look(self, run):
        """(hash of every output, curves of the training, versions, aliases) after a run."""
        import yaml

        root = self.lab.workspace(run)
        lock = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
        outs = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
        data = {path: md5 for path, md5 in outs.items() if not path.startswith(("data/runs/", "data/registration"))}
        curves, versions, aliases, status = self.lab.python(HISTORY.format(link=str(root / "data/runs/train.json")))
        assert status == "FINISHED", status
        return data, curves, versions, aliases

    def row(self, fault, where, run):
        """Checks a run that ended well, and keeps its row."""
        state = self.lab.read(run).state
        data, curves, versions, aliases = self.look(run)
        whole = self.whole
        differ = [path for path in data if data[path] != whole[0].get(path) and path not in TIMED]
        points = sum(len(points) for points in curves.values())
        assert not differ, f"{fault} {where}: {differ}"
        wrong = {name: (curves.get(name), whole[1].get(name)) for name in curves.keys() | whole[1].keys()}
        wrong = {name: both for name, both in wrong.items() if both[0] != both[1]}
        assert not wrong, f"{fault} {where}: {wrong}"
        assert versions == list(range(1, self.versions + 2)), (versions, self.versions)
        assert aliases == {"candidate": versions[-1]} or aliases.get("candidate") == str(versions[-1]), aliases
        self.versions += 1
        policy = data["data/policy"].removesuffix(".dir")[:8]
        again = self.lab.read(run).run_count - 1
        outcome = f"{state.name}" + (f", started again {again} x" if again else "")
        self.say(fault, where, outcome, f"{policy}, {points} points", f"version {versions[-1]}")

    def say(self, *cells):
        self.rows.append(cells)
        print(f"[{time.strftime('%H:%M:%S')}] " + " | ".join(map(str, cells)), flush=True)

    # Each of the following is one or more rows.

    def stage_killed_everywhere(self):
        run, pids = self.begin(), []
        for stage in STAGES:
            process = self.at(run, stage)[0]
            pids.append(f"{stage} {process.pid}")
            with suppress(psutil.NoSuchProcess):
                process.kill()
            wait_gone(process)
        self.end(run)
        self.row("kill -9 of each stage's process, once in every stage", ", ".join(pids), run)

    def rank_killed(self):
        run, pids = self.begin(overrides={"features": {"processes": 2}}), []
        for stage in ("features", "train"):
            ranks = [each for each in self.at(run, stage, ranks=4) if RANK in each.cmdline() and is_rank(each)]
            victim = ranks[-1]
            pids.append(f"{stage} {victim.pid} of {', '.join(str(each.pid) for each in ranks)}")
            victim.kill()
            wait_gone(victim)
        self.end(run)
        self.row("kill -9 of one of two ranks", "; ".join(pids), run)

    def flow_killed(self, stages):
        run, pids = self.begin(), []
        for stage in stages:
            process = self.at(run, stage)[0]
            flow = flow_of(process)
            pids.append(f"{stage} {flow.pid}")
            flow.kill()  # the stage lives on: the run that goes on ends it first
            wait_gone(process, 200)
        self.end(run)
        self.row("kill -9 of the flow, its stage left alive", ", ".join(pids), run)

    def worker_killed(self, stages):
        run, pids = self.begin(), []
        for stage in stages:
            self.at(run, stage)
            worker = psutil.Process(self.lab.processes[-1].pid)
            prefects = [each for each in worker.children() if "worker" in each.cmdline()]
            for process in (worker, *prefects):
                process.kill()
            self.lab.processes[-1].wait()
            pids.append(f"{stage} {worker.pid}")
            self.lab.start_worker()
        self.end(run)
        self.row("kill -9 of the worker, nothing else", ", ".join(pids), run)

    def machine_lost(self):
        run = self.begin()
        self.at(run, "train")
        pid = self.lab.processes[-1].pid
        kill_tree(pid)
        self.lab.processes[-1].wait()
        self.lab.wait(run, lambda state: state.is_crashed(), 300)
        self.lab.start_worker()
        self.end(run)
        self.row("kill -9 of worker, flow and stage together", f"train, worker {pid}; noticed by silence", run)

    def server_away(self, name, stage, away_s):
        server = getattr(self.lab.services, name)
        run = self.begin()
        self.at(run, stage)
        pid = server.pid
        server.kill()
        time.sleep(away_s)
        server.start()
        server.wait()
        self.end(run)
        where = f"{stage}, {name} {pid} -> {server.pid}"
        self.row(f"kill -9 of {name}, started again after {away_s:.0f} s", where, run)

    def s3_refuses(self):
        """DVC's remote on an S3 that is down when the run wants to push, and comes up afterwards."""
        lab, services = self.lab, self.lab.services
        keys = services.object_store.client_variables()
        store = Moto(services.root / "remote", free_port(), keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
        dvc = [sys.executable, "-m", "dvc"]
        lab.project.run(*dvc, "remote", "add", "--local", "--force", "--default", "store", "s3://mlflow/dvc")
        lab.project.run(*dvc, "remote", "modify", "--local", "store", "endpointurl", store.address)
        try:
            run = self.begin()
            begun = len(lab.worker_log())
            end_s = time.monotonic() + 600
            while "push' - Task run failed" not in lab.worker_log()[begun:]:
                assert time.monotonic() < end_s and not lab.state(run).is_final(), lab.worker_log()[-3000:]
                time.sleep(0.5)
            store.start()
            store.wait()
            self.end(run)
            where, variables = lab.workspace(run), lab.project.variables
            status = subprocess.run(
                [*dvc, "status", "--cloud"], cwd=where, env=variables, capture_output=True, text=True
            )
            assert "in sync" in status.stdout, status.stdout + status.stderr
            self.row("the S3 of DVC's remote refuses connections, then takes them", f"push, S3 {store.pid}", run)
        finally:
            store.stop()
            lab.project.run(*dvc, "remote", "remove", "--local", "store")

    def disk_full(self):
        """The workspaces on a disk of their own that is filled to the last byte while the policy trains."""
        folder = self.lab.project.root / ".llarp" / "workspaces"
        shutil.rmtree(folder, ignore_errors=True)
        self.lab.project.run("git", "worktree", "prune")
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(folder)], check=True)
        try:
            run = self.begin()
            process = self.at(run, "train")[0]
            with suppress(OSError), (folder / "ballast").open("wb") as file:
                while True:
                    file.write(b"x" * 2**16)
            state = self.end(run)
            assert state.is_failed(), state.name
            versions = self.lab.python(HISTORY.format(link=str(self.kept)))[1]
            assert versions == list(range(1, self.versions + 1))
            told = f"Failed ({state.message[:80]})"
            (folder / "ballast").unlink()
            again = self.resume(run)
            self.row(f"disk full: {told}; freed, run again", f"train {process.pid}", again)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=False)

    def resume(self, run):
        """The same run once more, as the UI's button Retry asks for."""
        from prefect.states import AwaitingRetry

        with self.lab.client() as client:
            client.set_flow_run_state(run, AwaitingRetry())
        self.lab.wait(run, lambda state: not state.is_failed(), 60)
        state = self.end(run)
        assert state.is_completed(), state.message
        return run

    def clock_steps(self):
        """Every process of worker and flow sees a clock that jumps by hours, there and back; the servers do not."""
        root, variables = self.lab.project.root, self.lab.project.variables
        if (compiler := shutil.which("cc")) is None:
            self.say("the clock steps", "", "not run: there is no C compiler", "", "")
            return
        library, clock = root.parent / "clock.so", root.parent / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        clock.write_text("0")
        shifted = {"LD_PRELOAD": str(library), "LLARP_TEST_CLOCK": str(clock)}
        variables |= shifted
        self.another_worker()
        run = self.begin()
        for stage, step in (("encoder", -2), ("train", 3), ("evaluate", -1)):
            self.at(run, stage)
            clock.write_text(str(3600 * step))
        self.end(run)
        for name in shifted:
            del variables[name]
        self.another_worker()
        self.row("the clock steps by -2 h, +3 h, -1 h", "encoder, train, evaluate", run)

    def another_worker(self):
        """Ends the worker and starts one with the variables as they are now."""
        kill_tree(self.lab.processes[-1].pid)
        self.lab.processes[-1].wait()
        self.lab.start_worker()

    def twice_at_once(self):
        run = self.begin()
        self.at(run, "episodes")
        other = self.lab.project.llarp("run", "--preset", "test", "--workspace", str(run)[:8], check=False)
        assert other.returncode == 2 and "another run works here" in other.stderr, other.stderr
        self.end(run)
        line = other.stderr.strip().splitlines()[-1]
        self.row("an identical run by hand in the same workspace", f"refused: {line.split(': ')[-1][:60]}", run)

    def registry_is_proved(self):
        """Every version that all of this has left behind, hash by hash."""
        versions = range(1, self.versions + 1)
        llarp = self.lab.project.llarp
        proofs = [llarp("lineage", "verify", f"models:/llarp/{each}", check=False) for each in versions]
        bad = [number for number, done in zip(versions, proofs, strict=True) if done.returncode]
        assert not bad, proofs[bad[0] - 1].stdout[-3000:] + proofs[bad[0] - 1].stderr[-1000:]
        self.say(
            "afterwards: `llarp lineage verify` of every version", "", "all match", "", f"{len(versions)} versions"
        )

    @property
    def kept(self):
        """Where the run that was left alone has its link, whatever workspaces are gone."""
        return self.lab.project.root / "whole-train.json"


def is_rank(process):
    """Whether it is one of the ranks rather than what launches them."""
    return not any(part.startswith("accelerate") for part in process.cmdline())


def wait_gone(process, limit_s=30):
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.wait(limit_s)


def table(rows):
    lines = ["| fault | where, process ids | the run | policy, points of curves | registry |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def main():
    names = list(ORDER)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=names, help="some faults alone")
    parser.add_argument("--out", type=Path, help="file for the table, in Markdown")
    arguments = parser.parse_args()
    with opened("faults", "moto") as lab:
        lab.deploy()
        lab.start_worker()
        faults = Faults(lab)
        try:
            faults.left_alone()
            last = sorted((lab.project.root / ".llarp" / "workspaces").glob("*/data/runs/train.json"))[-1]
            shutil.copy(last, faults.kept)
            for each in arguments.only or names:
                try:
                    ORDER[each](faults)
                except AssertionError as error:  # the others still tell something
                    faults.say(f"{each}: FAILED", "", str(error)[:300], "", "")
                    faults.has_failed = True
                    faults.versions = len(lab.python(HISTORY.format(link=str(faults.kept)))[1])
            faults.registry_is_proved()
        except BaseException:
            print(lab.worker_log()[-6000:], file=sys.stderr)
            raise
        finally:
            if arguments.out and faults.rows:
                arguments.out.write_text(table(faults.rows) + "\n")
    print(table(faults.rows))
    raise SystemExit(faults.has_failed)


ORDER = {
    "stage": Faults.stage_killed_everywhere,
    "rank": Faults.rank_killed,
    **{f"flow-{n}": partial(Faults.flow_killed, stages=stages) for n, stages in THIRDS.items()},
    **{f"worker-{n}": partial(Faults.worker_killed, stages=stages) for n, stages in THIRDS.items()},
    "machine": Faults.machine_lost,
    "mlflow": lambda faults: faults.server_away("mlflow", "train", 20),
    "postgres": lambda faults: faults.server_away("postgres", "encoder", 20),
    "prefect": lambda faults: faults.server_away("prefect", "features", 20),
    "s3": Faults.s3_refuses,
    "disk": Faults.disk_full,
    "clock": Faults.clock_steps,
    "twice": Faults.twice_at_once,
}

if __name__ == "__main__":
    main()
