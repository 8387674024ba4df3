"""Stage `features`: encodes every view of the training demonstrations, each once."""

from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes the feature store, and the demonstrations as keys of views and actions."""
    from llarp.environments.make import make_environment
    from llarp.environments.recorded import WithRecordingsOf, recordings
    from llarp.learn import demonstrations
    from llarp.learn.demonstrations import Demonstration, Demonstrations
    from llarp.vision.warm import warm

    environment, config = make_environment(params), params.features
    episodes, make = environment.read(paths.split("train")), environment.simulator
    if own := recordings(environment.actions):
        episodes, make = [*episodes, *own], WithRecordingsOf(make)
    keys = warm(episodes, paths.encoder, paths.features, make, config.batch_size, config.workers)
    number = {action: number for number, action in enumerate(environment.actions)}
    shown = (
        Demonstration(episode.episode_id, episode.instruction, views, [number[act] for act in episode.demonstration])
        for episode, views in zip(episodes, keys, strict=True)
    )
    demonstrations.write(paths.demonstrations, Demonstrations(shown, environment.names()))
    views = sum(map(len, keys))
    distinct = len({key for views_of_one in keys for key in views_of_one})
    metrics = {"views": views, "distinct_views": distinct}
    return Result(f"Encoded {distinct} distinct views of {views} in {len(episodes)} demonstrations.", metrics)


if __name__ == "__main__":
    main("features", run)
