"""Stage `features`: encodes every view of the training demonstrations, each once."""

from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes the feature store, and the demonstrations as keys of views and actions."""
    from llarp.learn import demonstrations
    from llarp.learn.demonstrations import Demonstration
    from llarp.tasks.skills import INDEX
    from llarp.tasks.store import Episodes
    from llarp.vision.warm import warm

    episodes, config = Episodes.open(paths.split("train")), params.features
    keys = warm(episodes, paths.encoder, paths.features, params.camera, config.batch_size, config.workers)
    demonstrations.write(
        paths.demonstrations,
        [
            Demonstration(
                episode.episode_id, episode.instruction, views, [INDEX[skill] for skill in episode.demonstration]
            )
            for episode, views in zip(episodes, keys, strict=True)
        ],
    )
    views = sum(map(len, keys))
    distinct = len({key for views_of_one in keys for key in views_of_one})
    metrics = {"views": views, "distinct_views": distinct}
    return Result(f"Encoded {distinct} distinct views of {views} in {len(episodes)} demonstrations.", metrics)


if __name__ == "__main__":
    main("features", run)
