"""`llarp serve`: a model version of the registry, acting over HTTP."""

from typing import Annotated

import typer

LOCAL = ("127.0.0.1", "localhost")
"""Names of this machine that nobody else can reach."""


def serve(
    model: Annotated[str, typer.Option(help="A model version of the registry.")] = "models:/llarp@champion",
    host: Annotated[str, typer.Option(help="Address to listen on; there is no password.")] = LOCAL[0],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0: one that is free.")] = 8080,
    max_sessions: Annotated[int, typer.Option(min=1, help="Sessions open at once.")] = 64,
    idle_s: Annotated[float, typer.Option(min=1, help="Seconds without a step after which a session ends.")] = 600,
) -> None:
    """Serve a policy until Ctrl-C: instruction and images in, skills out. See docs/serving.md."""
    from components.agent import load_agent
    from components.model_files import MODEL_SHA256, find, uri_of
    from llarp.serving.server import Model, Service, listen, run

    bound = listen(host, port)
    version = find(model)  # an alias may be moved while its version is loaded
    print(f"Loading version {version.version} of {version.name} ...", flush=True)
    agent = load_agent(uri_of(version))
    agent.warm_up()
    is_local = host in LOCAL
    served = Model(version.name, str(version.version), version.tags.get(MODEL_SHA256))
    service = Service(agent, served, max_sessions, idle_s, LOCAL if is_local else None)
    if not is_local:
        print(f"warning: whoever reaches {host} can use the policy: there is no password", flush=True)
    address = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
    try:
        run(service, bound, lambda: print(f"Serving {address}; Ctrl-C stops it", flush=True))
    finally:
        print(f"Served {service.meter.latency}" if service.meter.steps else "Served no step", flush=True)
