"""Every parameter of the pipeline, typed: one section of params.yaml per model here, read once.

Each field says its unit and range. Unknown keys and values out of range are refused.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llarp.errors import UserError


class Section(BaseModel):
    """A frozen group of parameters that knows every key it accepts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


EnvironmentName = Literal["rearrangement", "babyai", "atari"]


class ReleaseConfig(Section):
    """Stage `release`: import of the benchmark's released episodes."""

    source: str | None = Field(description="folder or file of released pickles; null: import nothing")


Backend = Literal["loky", "dask", "ray"]


class EpisodesConfig(Section):
    """Stage `episodes`: generation of the data set."""

    train: int = Field(ge=1, le=10_000_000, description="training episodes")
    per_split: int = Field(ge=1, le=100_000, description="episodes of each evaluation split")
    layouts: int = Field(ge=1, le=100_000, description="generated layouts that training draws from")
    objects: int = Field(ge=1, le=60, description="objects in each episode")
    extra: str = Field("incoming", description="folder of episode files that are added to training; may hold none")
    workers: int = Field(ge=1, le=1024, description="processes; the data does not depend on it")
    backend: Backend = Field("loky", description="of joblib: loky on this machine, dask or ray on a cluster")
    address: str | None = Field(None, description="scheduler of the cluster; null: one is started on this machine")


class SimulatorConfig(Section):
    """What draws the apartments; the rules are the same everywhere."""

    name: Literal["embedded", "habitat"] = Field(
        description="embedded: needs nothing else; habitat: habitat-sim, installed by environment.habitat.yml"
    )
    scenes: str | None = Field(description="habitat: a scene data set, NAME.scene_dataset_config.json; else null")
    objects: str | None = Field(description="habitat: folder of further object configurations (YCB); null: none")


class CameraConfig(Section):
    """The robot's head camera."""

    width: int = Field(ge=16, le=1024, description="pixels")
    height: int = Field(ge=16, le=1024, description="pixels")
    fov_deg: float = Field(gt=10, lt=150, description="vertical field of view, degrees")
    tilt_deg: float = Field(ge=-30, le=80, description="downward tilt, degrees")
    elevation_m: float = Field(gt=0.3, lt=2.5, description="height above the floor, metres")


class VisionConfig(Section):
    """The frozen visual encoder; what stage `encoder` makes."""

    encoder: str = Field(
        description="mae-tiny, vc1-base, vc1-large, vc1-large-permissive, or hub id or folder of a transformers ViT"
    )
    weights: str | None = Field(description="local checkpoint file for vc1-*; null: from the hub")
    revision: str | None = Field(None, description="full commit hash of what comes from the hub; null: nothing does")
    sha256: str | None = Field(
        None, description="of the checkpoint or model.safetensors; null: not checked (not for vc1-* of the hub)"
    )
    output: Literal["cls", "mean", "patches", "units"] = Field(
        description="class token, mean, all patches, or hidden units of the last layer pooled over the patches"
    )
    frames: int = Field(ge=16, description="frames drawn to train mae-tiny")
    epochs: int = Field(
        ge=0, le=1000, description="passes over those frames as an autoencoder; 0: units are placed instead"
    )
    batch_size: int = Field(ge=1, description="frames per optimiser step")
    lr: float = Field(gt=0, lt=1, description="peak learning rate of AdamW")
    mask_ratio: float = Field(gt=0, lt=1, description="share of patches hidden")
    patch: int = Field(ge=2, le=64, description="patch edge, pixels")
    dim: int = Field(ge=8, le=2048, description="width of the encoder")
    depth: int = Field(ge=1, le=48, description="layers of the encoder")
    heads: int = Field(ge=1, le=32, description="attention heads")
    units: int = Field(1024, ge=1, le=65_536, description="hidden units of each feed-forward layer of mae-tiny")


class FeaturesConfig(Section):
    """Stage `features`: views that are encoded before training, and the store of those met later."""

    machines: ClassVar[int] = 1
    address: ClassVar[str | None] = None
    mixed_precision: ClassVar[str] = "none"
    """Views are shared out, and nobody waits for anybody: see `llarp features warm --part`."""

    batch_size: int = Field(ge=1, description="images per encoder call")
    processes: int = Field(ge=1, le=1024, description="ranks that `accelerate launch` starts on this machine")
    pool: int = Field(
        0, ge=0, description="training episodes, from the first, whose standing points are seen in advance, for ppo"
    )
    overlay_gib: float = Field(
        1.0, gt=0, description="disk for features of views met while training and evaluating; the least used go first"
    )


class PolicyConfig(Section):
    """The policy's shape; part of stage `train`."""

    backbone: str = Field(description="all-MiniLM-L6-v2, or name or path of a causal decoder of the hub")
    revision: str | None = Field(description="pinned hub revision (commit hash); null for the embedded default")
    sha256: str | None = Field(description="of model.safetensors; null: not checked (local paths only)")
    max_instruction_tokens: int = Field(ge=4, le=4096, description="longer instructions are refused, never cut")
    hidden: int = Field(ge=8, le=8192, description="width of the observation and action adapters")
    observation_hidden: int | None = Field(
        None, ge=8, le=8192, description="width of the observation adapter where it is another; null: like hidden"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="numbers of the frozen backbone; auto: as its weights were saved"
    )
    quantize: Literal["none", "8bit", "4bit"] = Field(
        "none", description="frozen weights in fewer bits, by bitsandbytes on a GPU"
    )
    lora_rank: int = Field(0, ge=0, le=256, description="rank of LoRA on the backbone while it reads frames; 0: none")
    visual_tokens: int = Field(1, ge=1, le=64, description="tokens per frame; more than 1: made by a resampler")
    previous_action: bool = Field(False, description="whether the action before is a token before each frame")
    compile: bool = Field(False, description="compile the backbone with torch.compile; needs a C++ compiler or a GPU")

    @property
    def tokens_per_frame(self) -> int:
        """Tokens that the backbone reads for each frame."""
        return self.visual_tokens + self.previous_action


Algorithm = Literal["bc", "ppo", "bc+ppo"]


class TrainConfig(Section):
    """Stage `train`: the adapters. Unless said otherwise, of behaviour cloning; `PPOConfig` has its own."""

    algorithm: Algorithm = Field(
        description="bc: behaviour cloning of the expert's demonstrations; ppo: reinforcement learning; bc+ppo: both"
    )
    processes: int = Field(ge=1, le=4096, description="ranks that `accelerate launch` starts, over all machines")
    machines: int = Field(1, ge=1, le=512, description="machines that train together; see `llarp join`")
    address: str | None = Field(None, description="HOST:PORT of the first machine; null with one machine")
    mixed_precision: Literal["none", "bf16"] = Field("none", description="numbers of the adapters' products, on a GPU")
    epochs: float = Field(gt=0, le=10_000, description="passes over the demonstrations")
    batch_size: int = Field(ge=1, description="episodes per optimiser step, over all processes")
    lr: float = Field(gt=0, lt=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(ge=0, lt=1, description="of AdamW")
    warmup: float = Field(ge=0, le=1, description="share of the steps with rising learning rate; cosine decay after")
    max_grad_norm: float = Field(gt=0, description="gradients are scaled down to this norm")
    label_smoothing: float = Field(ge=0, lt=1, description="of the cross-entropy on actions")
    dagger_rounds: int = Field(
        0, ge=0, le=100, description="DAgger: times that the learner plays, the expert corrects and cloning goes on"
    )
    dagger_episodes: int = Field(500, ge=1, description="episodes that the learner plays in a round of DAgger")
    dagger_epochs: float = Field(1.0, gt=0, le=10_000, description="passes over all demonstrations in a round")
    checkpoint_every: int = Field(ge=1, description="optimiser steps between checkpoints")
    keep_checkpoints: int = Field(ge=1, description="checkpoints kept, of either algorithm")
    prefix_cache_gib: float = Field(ge=0, description="memory per process in which read instructions are kept")
    log_every: int = Field(ge=1, description="optimiser steps between logged metrics")


class PPOConfig(Section):
    """Reinforcement learning in stage `train` (arXiv 2310.17722, appendix; 1911.00357 for several processes)."""

    total_steps: int = Field(ge=1, description="environment steps, over all processes")
    num_envs: int = Field(ge=1, le=65_536, description="episodes side by side in each process")
    rollout_steps: int = Field(ge=1, le=4096, description="steps of each of them between two updates")
    epochs: int = Field(ge=1, le=100, description="passes over a rollout")
    minibatches: int = Field(ge=1, le=4096, description="optimiser steps of a pass")
    lr: float = Field(gt=0, lt=1, description="learning rate of AdamW")
    lr_decay: bool = Field(description="whether it falls to zero along a line")
    gamma: float = Field(gt=0, le=1, description="discount of a reward one step later")
    gae_lambda: float = Field(ge=0, le=1, description="of generalised advantage estimation")
    clip: float = Field(gt=0, lt=1, description="most that an action's probability ratio is rewarded for changing")
    clip_value: float = Field(ge=0, description="most that a value is to change in an update; 0: any")
    value_weight: float = Field(ge=0, description="of the critic's loss")
    entropy_weight: float = Field(ge=0, description="of the policy's entropy, nats")
    normalise_advantages: bool = Field(description="whether a rollout's advantages get mean 0 and deviation 1")
    max_grad_norm: float = Field(gt=0, description="gradients are scaled down to this norm")
    critic_warmup: int = Field(ge=0, description="updates in which the critic alone learns; of use after bc")
    critic_lr: float = Field(gt=0, lt=1, description="learning rate of these updates")
    target_kl: float | None = Field(description="KL divergence of an update to aim at, nats; null: none")
    on_kl: Literal["stop", "adapt"] = Field(
        description="beyond target_kl: stop ends the update's passes, adapt changes the learning rate"
    )
    max_kl: float = Field(gt=0, description="KL divergence of an update, nats, beyond which training is given up")
    min_entropy: float = Field(ge=0, description="mean entropy, nats, below which training is given up; 0: never")
    preemption: float = Field(
        gt=0, le=1, description="share of processes whose finished rollouts end those of the others; 1: never"
    )
    min_rollout: float = Field(ge=0, le=1, description="share of its own rollout that a process collects in any case")
    checkpoint_every: int = Field(ge=1, description="updates between checkpoints")


class EvaluateConfig(Section):
    """Stage `evaluate`: every split, the policy and its baselines."""

    episodes_per_split: int = Field(ge=1, description="at most this many of each split")
    batch_size: int = Field(ge=1, description="episodes that run side by side in one process")
    workers: int = Field(ge=1, le=1024, description="processes; the results do not depend on it")
    films_per_split: int = Field(
        ge=0, le=20, description="film strips in the report, of successes and of failures each"
    )


class RewardConfig(Section):
    """Rewards of the decision problem (arXiv 2310.17722, section 4 and appendix)."""

    success: float = Field(description="once, when the goal holds")
    subgoal: float = Field(description="times the increase of the fraction of subgoals reached")
    invalid: float = Field(le=0, description="per invalid action; the released code never applies it: 0 for that")
    slack: float = Field(le=0, description="per step")


class RegisterConfig(Section):
    """Stage `register`: the model version."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="name in the registry")
    alias: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="alias that the new version gets")

    @field_validator("alias")
    @classmethod
    def _is_not_guarded(cls, alias: str) -> str:
        if alias in ("champion", "previous"):
            raise ValueError(f"only `llarp promote` and `llarp rollback` give the alias {alias}")
        return alias


Approval = Literal["auto", "human"]


class PromoteConfig(Section):
    """The gate between a candidate and the alias `champion`; no stage depends on it. See docs/promotion.md."""

    min_success: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="least success rate by split, `released/SPLIT` or `total`, as in {new_scenes: 0.8}"
    )
    max_drop: float = Field(0.05, ge=0, le=1, description="success rate that a split may lose against the champion")
    alpha: float = Field(
        0.1, gt=0, le=1, description="chance, over all splits, of refusing one as good; 1: every larger drop counts"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals of differences")
    bootstrap: int = Field(10_000, ge=100, le=1_000_000, description="resamples for these intervals")
    max_latency_ms: float | None = Field(None, gt=0, description="p99 of a step of serving; null: no bound")
    max_size_mb: float | None = Field(None, gt=0, description="files of the version, 10^6 bytes; null: no bound")
    approval: Approval = Field("auto", description="human: a person must approve what has passed")
    approval_timeout_s: float = Field(
        86_400, gt=0, le=30 * 86_400, description="time to approve; no answer in it means no"
    )


class Params(Section):
    """params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31, description="of everything random")]
    environment: Annotated[EnvironmentName, Field(description="where policies act; see docs/environments.md")]
    simulator: SimulatorConfig
    camera: CameraConfig
    reward: RewardConfig
    release: ReleaseConfig
    episodes: EpisodesConfig
    vision: VisionConfig
    features: FeaturesConfig
    policy: PolicyConfig
    train: TrainConfig
    ppo: PPOConfig
    evaluate: EvaluateConfig
    register_: RegisterConfig = Field(alias="register")
    promote: PromoteConfig = PromoteConfig.model_validate({})  # what was registered before the gate has no section


def flatten(params: Params) -> dict[str, Any]:
    """Every parameter under its dotted key, as in params.yaml."""
    flat: dict[str, Any] = {}
    for name, value in params.model_dump(by_alias=True).items():
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def validate(values: object, where: str | Path) -> Params:
    """Checks parsed parameters; UserError names the first key that is wrong."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UserError(
            f"key {key}: {first['msg']}{more}", where, "see `llarp params` for keys, units and ranges"
        ) from None


def load_params(path: str | Path = "params.yaml") -> Params:
    """Reads and checks a parameter file; UserError when it is missing, no YAML, or wrong."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "run in the project's folder") from error
    except yaml.YAMLError as error:
        raise UserError(f"is no YAML: {error}", path, "mend the line named") from error
    return validate(values, path)
