"""Serving: the time of a step beside the bare network's, beside reading the whole episode anew, and over HTTP.

Run `python benchmarks/serving.py` on an otherwise idle machine (about a minute). It takes data/policy and data/encoder
of a run where there are any, else networks of the same size with random weights, which take the same time. All ways
see the same images of the same episodes, turn by turn, so that the ratios hold for any machine.
"""

import contextlib
import json
import tempfile
import time
from http.client import HTTPConnection
from multiprocessing import get_context
from pathlib import Path

import numpy as np

EPISODES = 12
SEED = 7


def make_agent(params, folder: Path):
    """(agent, where its weights come from)."""
    import torch

    from llarp.policy.backbones import load_backbone
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.serving import Agent
    from llarp.vision.encoder import load_encoder
    from llarp.vision.mae import train_mae

    if Path("data/policy/policy.json").exists():
        policy, encoder = LLaRPPolicy.load(Path("data/policy")), load_encoder("data/encoder")
        return Agent(policy, encoder, params.camera), "data/policy"
    noise = np.random.default_rng(SEED).integers(0, 256, (64, params.camera.height, params.camera.width, 3), np.uint8)
    encoder = train_mae(noise, params.vision, SEED, folder / "encoder")
    torch.manual_seed(SEED)
    policy = LLaRPPolicy(load_backbone(params.policy), params.policy, (encoder.num_tokens, encoder.dim))
    return Agent(policy, encoder, params.camera), "random weights"


def seen(params, agent):
    """(instruction, images of all steps) of episodes that an agent plays to the last step."""
    from llarp.environments.make import make_environment

    environment = make_environment(params)
    simulator, by_name = environment.simulator(), {str(action): action for action in environment.actions}
    for episode in environment.generate("train_validation", EPISODES):
        simulator.reset(episode)
        images = []
        with agent.start(episode.instruction) as session:
            while not session.has_ended:
                images.append(simulator.render())
                simulator.apply(by_name[session.act(images[-1])])
        yield episode.instruction, images


class Bare:
    """The encoder and the policy themselves."""

    def __init__(self, agent):
        self.agent = agent

    def start(self, instruction):
        """Reads the instruction."""
        from llarp.serving.agent import _Task

        self.state, self.running = self.agent.policy.start([_Task(instruction)]), np.ones(1, bool)

    def act(self, image):
        """One step."""
        features = self.agent.encoder.encode(image[None]).astype(np.float16)
        actions, self.state = self.agent.policy.act(features, self.state, self.running)
        return self.agent.actions[actions[0]]


class Served:
    """A session of the agent."""

    def __init__(self, agent):
        self.agent = agent

    def start(self, instruction):
        """Begins it."""
        self.session = self.agent.start(instruction)

    def act(self, image):
        """One step."""
        return self.session.act(image)


class Anew:
    """MLflow's `predict`: the episode so far, from its beginning."""

    def __init__(self, agent):
        self.agent = agent

    def start(self, instruction):
        """Nothing is kept but the images."""
        self.instruction, self.images = instruction, []

    def act(self, image):
        """One step."""
        self.images.append(image)
        with self.agent.start(self.instruction) as session:
            return [session.act(image) for image in self.images][-1]


class OverHTTP:
    """`llarp serve` on this machine, by one connection that stays open."""

    def __init__(self, address):
        self.connection = HTTPConnection(*address)

    def start(self, instruction):
        """Begins a session."""
        self.session = self.ask("/sessions", json.dumps({"instruction": instruction}), "application/json")["session"]

    def act(self, image):
        """One step."""
        return self.ask(f"/sessions/{self.session}/act", image.tobytes(), "application/octet-stream")["skill"]

    def ask(self, path, body, media_type):
        """The answer to a request."""
        self.connection.request("POST", path, body, {"Content-Type": media_type})
        return json.load(self.connection.getresponse())


def serve(folder: Path, ready) -> None:
    """A process of its own that serves a saved agent; tells its address."""
    import torch

    from llarp.serving import Agent
    from llarp.serving.server import Model, Service, listen, run

    torch.set_num_threads(1)
    agent, bound = Agent.load(folder / "policy", folder / "encoder", Path("params.yaml")), listen("127.0.0.1", 0)
    agent.warm_up()
    run(Service(agent, Model("llarp", "1"), 64, 600.0), bound, lambda: ready.send(bound.getsockname()))


@contextlib.contextmanager
def server(agent):
    """Address of one."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        agent.policy.save(Path(name) / "policy")
        agent.encoder.save(Path(name) / "encoder")
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(Path(name), there), daemon=True)
        process.start()
        try:
            yield here.recv()
        finally:
            process.terminate()
            process.join()


def main() -> None:
    """Prints the figures."""
    import torch

    from llarp.config import load_params
    from llarp.serving.latency import Latency

    torch.set_num_threads(1)
    params = load_params()
    with tempfile.TemporaryDirectory() as folder:
        agent, source = make_agent(params, Path(folder))
    agent.warm_up()
    with server(agent) as address:
        ways = {"bare": Bare(agent), "agent": Served(agent), "HTTP": OverHTTP(address), "anew": Anew(agent)}
        times_s = {name: [] for name in ways}
        for instruction, images in seen(params, agent):
            for way in ways.values():
                way.start(instruction)
            for image in images:
                skills = set()
                for name, way in ways.items():
                    begun_s = time.perf_counter()
                    skills.add(way.act(image))
                    times_s[name].append(time.perf_counter() - begun_s)
                assert len(skills) == 1, "all ways answer the same"
    told = {name: Latency.of(some) for name, some in times_s.items()}
    last = {name: np.reshape(some, (EPISODES, -1))[:, -1].mean() for name, some in times_s.items()}
    title = f"a step of {EPISODES} episodes of {agent.horizon} steps, {source}"
    print(f"{title:<56}   p50 ms   p99 ms  mean ms")
    names = {
        "bare": "encoder and policy themselves", "agent": "a session of Agent", "HTTP": "llarp serve, over HTTP",
        "anew": "the episode read anew (MLflow's predict)",
    }  # fmt: skip
    for name, label in names.items():
        of = told[name]
        print(f"  {label:<54} {of.p50_ms:8.2f} {of.p99_ms:8.2f} {of.mean_ms:8.2f}")
    print(f"Agent beside the bare networks        {told['agent'].p50_ms / told['bare'].p50_ms:6.2f} x (median step)")
    print(f"HTTP beside Agent                     {told['HTTP'].p50_ms / told['agent'].p50_ms:6.2f} x (median step)")
    whole, end = told["anew"].mean_ms / told["agent"].mean_ms, last["anew"] / last["agent"]
    print(f"reading anew beside Agent             {whole:6.2f} x (mean step), {end:.1f} x (an episode's last)")


if __name__ == "__main__":
    main()
