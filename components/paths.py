"""Every path of the pipeline, named once; dvc.yaml says which stage reads and writes which."""

from dataclasses import dataclass
from pathlib import Path

from components.environment import STATE


@dataclass(frozen=True)
class Paths:
    """Folders and files below the project's folder."""

    root: Path = Path()

    @property
    def params(self) -> Path:
        """Every parameter."""
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """DVC's definition of the stages."""
        return self.root / "dvc.yaml"

    @property
    def lock(self) -> Path:
        """DVC's record of what every stage read and wrote."""
        return self.root / "dvc.lock"

    @property
    def data(self) -> Path:
        """All that stages write."""
        return self.root / "data"

    @property
    def release(self) -> Path:
        """Imported episodes of the release, one file."""
        return self.data / "release" / "episodes.parquet"

    @property
    def episodes(self) -> Path:
        """Generated episodes, one folder of shards per split, with what is known of them."""
        return self.data / "episodes"

    def split(self, name: str) -> Path:
        """Generated episodes of one split, a folder of shards."""
        return self.episodes / name

    @property
    def encoder(self) -> Path:
        """The frozen visual encoder."""
        return self.data / "encoder"

    @property
    def probe(self) -> Path:
        """What linear probes read off the encoder's features."""
        return self.data / "probe.json"

    @property
    def features(self) -> Path:
        """Feature store of the demonstrations' views."""
        return self.data / "features"

    @property
    def demonstrations(self) -> Path:
        """What is cloned: keys of views, and actions."""
        return self.data / "demonstrations.parquet"

    @property
    def policy(self) -> Path:
        """The trained adapters."""
        return self.data / "policy"

    @property
    def curves(self) -> Path:
        """Metrics of the training by step."""
        return self.data / "curves.json"

    @property
    def rows(self) -> Path:
        """One row per evaluated episode and policy."""
        return self.data / "evaluation" / "episodes.parquet"

    @property
    def summary(self) -> Path:
        """Scores per policy and split."""
        return self.data / "evaluation" / "summary.json"

    @property
    def report(self) -> Path:
        """The report, one page."""
        return self.data / "evaluation" / "report.html"

    @property
    def films(self) -> Path:
        """Film strips."""
        return self.data / "evaluation" / "films"

    @property
    def registration(self) -> Path:
        """Which model version was registered."""
        return self.data / "registration.json"

    def run(self, stage: str) -> Path:
        """The tracked run that wrote a stage's outputs."""
        return self.data / "runs" / f"{stage}.json"

    @property
    def state(self) -> Path:
        """What outlives stages and is no output of any: databases, checkpoints."""
        return self.root / STATE

    @property
    def overlays(self) -> Path:
        """Features of views met while training and evaluating: a folder per encoder."""
        return self.state / "features"

    @property
    def replaced_features(self) -> Path:
        """The feature store that stood where one of another kind was begun."""
        return self.state / "replaced-features"

    @property
    def unfinished_episodes(self) -> Path:
        """Shards of a generation that has not ended; they survive its end by force."""
        return self.state / "unfinished-episodes"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the training; they survive its end by force."""
        return self.state / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """The tracking server's files."""
        return self.state / "mlartifacts"
