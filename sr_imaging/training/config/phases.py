"""Settings of a training run that say how: the two phases, the terms of their losses, the loop under them."""

from dataclasses import dataclass, field
from typing import Any

from sr_imaging.bounds import bounded, check_settings, one_of, require

__all__ = ["AdversarialConfig", "FeatureConfig", "LoopConfig", "PixelConfig", "ScheduleConfig"]


@dataclass(frozen=True)
class ScheduleConfig:
    """How a learning rate moves within a phase, counted in steps (one batch each).

    ``constant``; ``step``: times `factor` after every `every` steps; ``cosine``: to `last` of the highest
    rate at the end of the phase; ``inverse``: ``1 / (1 + decay * t)``, `t` from the end of `warmup`.
    """

    kind: str = one_of("cosine", ("constant", "step", "cosine", "inverse"))
    warmup: int = bounded(100, low=0, unit="steps")  # the rate rises evenly, at most half of the phase
    last: float = bounded(0.01, low=0, high=1)  # fraction of the highest rate
    every: int = bounded(1000, low=1, unit="steps")
    factor: float = bounded(0.5, above=0, high=1)  # of a stair over the one before
    decay: float = bounded(1e-3, low=0)  # per step

    def __post_init__(self) -> None:
        check_settings(self, "schedule")


@dataclass(frozen=True)
class FeatureConfig:
    """A loss on the features of a network whose weights are a local file."""

    weights: str = ""  # safetensors file; empty leaves the term out
    network: str = "vgg19"  # key of `sr_imaging.losses.feature_networks.FEATURE_NETWORKS`
    layers: tuple[str, ...] = ()  # whose outputs are compared; empty takes the network's usual ones
    weight: float = bounded(0.1, low=0)  # in the adversarial phase

    def __post_init__(self) -> None:
        check_settings(self, "perceptual/content")


@dataclass(frozen=True)
class PixelConfig:
    """Phase 1: the generator alone. Its loss and terms stay in phase 2."""

    steps: int = bounded(2000, low=0)  # 0 leaves the phase out
    loss: str = "charbonnier"  # key of `sr_imaging.losses.image_terms.PIXEL_LOSSES`
    # weights of further terms by key of `sr_imaging.losses.image_terms.STRUCTURE_LOSSES`
    terms: dict[str, Any] = field(default_factory=dict)
    divergence_weight: float = bounded(1e-3, low=0)  # of the Kullback-Leibler term of a variational generator
    rate: float = bounded(1e-3, above=0)  # highest learning rate
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        check_settings(self, "pixel")
        for name, weight in self.terms.items():
            known = isinstance(weight, int | float) and not isinstance(weight, bool) and weight >= 0
            require(known, f"pixel.terms.{name} must be a weight, got {weight!r}; give a number of 0 or more")


@dataclass(frozen=True)
class AdversarialConfig:
    """Phase 2: the generator against a discriminator."""

    steps: int = bounded(0, low=0)  # of the generator; 0 leaves the phase out
    loss: str = "hinge"  # key of `sr_imaging.losses.games.ADVERSARIAL_LOSSES`
    weight: float = bounded(0.02, low=0)
    pixel_weight: float = bounded(1.0, low=0)
    feature_weight: float = bounded(0.0, low=0)  # of feature matching
    ramp: int = bounded(200, low=0, unit="steps")  # in which the adversarial weight rises from 0
    # highest learning rates of the two networks (two time-scale updates, Heusel et al. 2017)
    rate: float = bounded(1e-4, above=0)
    discriminator_rate: float = bounded(4e-4, above=0)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)  # of both rates
    d_steps: int = bounded(1, low=1)  # of the discriminator for one of the generator, a batch for each
    # standard deviation, in that of a patch, of noise on what the discriminator sees; it falls evenly to 0
    # over the phase (Sønderby et al. 2017)
    instance_noise: float = bounded(0.0, low=0)
    # the label of HR is 1 less this (one-sided; Salimans et al. 2016)
    label_smoothing: float = bounded(0.0, low=0, below=0.5, remedy="give for example 0.1")
    penalty: str = ""  # key of `sr_imaging.losses.penalties.PENALTIES`; empty takes that of the loss
    penalty_weight: float = bounded(10.0, low=0)
    discriminator: str = "patch"  # key of `sr_imaging.networks.discriminators.registry.DISCRIMINATORS`
    arguments: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the discriminator

    def __post_init__(self) -> None:
        check_settings(self, "adversarial")


@dataclass(frozen=True)
class LoopConfig:
    """The loop itself; validations and checkpoints happen at the end of a phase as well."""

    ema: float = bounded(0.999, low=0, below=1)  # decay of the averaged generator; 0 takes the last weights
    clip: float = bounded(1.0, low=0)  # largest norm of a gradient; 0 does not clip
    precision: str = one_of("float32", ("float32", "bf16", "fp16"))
    # parts that a batch is computed in, one after the other: the same step in less memory. Batch norms and
    # the means of the relativistic game are of a part.
    accumulate: int = bounded(1, low=1, unit="parts")
    # keep no activations within the blocks of the generator but compute them again in the backward pass: a
    # third more work, much less memory (Chen et al. 2016)
    recompute: bool = False
    # end the pixel phase, with its best weights, after so many without a better PSNR; 0 does not
    patience: int = bounded(0, low=0, unit="validations")
    validate_every: int = bounded(500, low=1, unit="steps")
    checkpoint_every: int = bounded(500, low=1, unit="steps")

    def __post_init__(self) -> None:
        check_settings(self, "loop")
