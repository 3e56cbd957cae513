"""Settings of a training run that say how: the two phases, the terms of their losses, the loop under them."""

from dataclasses import dataclass, field
from typing import Any

from sr_imaging.errors import require, require_finite

__all__ = ["AdversarialConfig", "FeatureConfig", "LoopConfig", "PixelConfig", "ScheduleConfig"]

SCHEDULES = ("constant", "step", "cosine", "inverse")
PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class ScheduleConfig:
    """How a learning rate moves within a phase, counted in steps (one batch each).

    Parameters
    ----------
    kind : str
        ``constant``; ``step``: times `factor` after every `every` steps; ``cosine``: to `last` of the highest
        rate at the end of the phase; ``inverse``: ``1 / (1 + decay * t)``.
    warmup : int
        Steps in which the rate rises evenly to the highest one, at most half of the phase; `t` counts from
        their end.
    last : float
        Fraction of the highest rate at the end of a cosine.
    every : int
        Length of a stair of ``step``.
    factor : float
        Height of a stair of ``step`` over the one before.
    decay : float
        Of ``inverse``, per step.
    """

    kind: str = "cosine"
    warmup: int = 100
    last: float = 0.01
    every: int = 1000
    factor: float = 0.5
    decay: float = 1e-3

    def __post_init__(self) -> None:
        require_finite(self, "schedule")
        require(self.kind in SCHEDULES, f"unknown schedule {self.kind!r}; use one of {', '.join(SCHEDULES)}")
        require(self.warmup >= 0, f"schedule.warmup {self.warmup} is negative; give 0 or more steps")
        require(0 <= self.last <= 1, f"schedule.last {self.last} is no fraction; give 0 to 1")
        require(self.every > 0, f"schedule.every {self.every} is not positive; give a number of steps")
        require(0 < self.factor <= 1, f"schedule.factor {self.factor} is not in 0 to 1; give for example 0.5")
        require(self.decay >= 0, f"schedule.decay {self.decay} is negative; give 0 or more")


@dataclass(frozen=True)
class FeatureConfig:
    """A loss on the features of a network whose weights are a local file.

    Parameters
    ----------
    weights : str
        Safetensors file; empty leaves the term out.
    network : str
        Key of ``sr_imaging.training.perceptual.FEATURE_NETWORKS``.
    layers : tuple of str
        Names of the layers whose outputs are compared; empty takes those that the network is known for.
    weight : float
        Weight of the term in the adversarial phase.
    """

    weights: str = ""
    network: str = "vgg19"
    layers: tuple[str, ...] = ()
    weight: float = 0.1

    def __post_init__(self) -> None:
        require_finite(self, "a feature term")
        require(self.weight >= 0, f"weight {self.weight} of a feature term is negative; give 0 or more")


@dataclass(frozen=True)
class PixelConfig:
    """Phase 1: the generator alone.

    Parameters
    ----------
    steps : int
        Length of the phase; 0 leaves it out.
    loss : str
        Key of ``sr_imaging.losses.image_terms.PIXEL_LOSSES``; it stays in phase 2.
    terms : dict
        Weights of further terms by key of ``sr_imaging.losses.image_terms.STRUCTURE_LOSSES``; they stay in
        phase 2.
    divergence_weight : float
        Weight of the Kullback–Leibler term of a variational generator; others have none.
    rate : float
        Highest learning rate.
    schedule : ScheduleConfig
        How the rate moves.
    """

    steps: int = 2000
    loss: str = "charbonnier"
    terms: dict[str, Any] = field(default_factory=dict)
    divergence_weight: float = 1e-3
    rate: float = 1e-3
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        require_finite(self, "pixel")
        require(self.steps >= 0, f"pixel.steps {self.steps} is negative; give 0 or more")
        for name, weight in self.terms.items():
            known = isinstance(weight, int | float) and not isinstance(weight, bool) and weight >= 0
            require(known, f"pixel.terms.{name} {weight!r} is no weight; give a number of 0 or more")
        weight = self.divergence_weight
        require(weight >= 0, f"pixel.divergence_weight {weight} is negative; give 0 or more")
        require(self.rate > 0, f"pixel.rate {self.rate} is not positive; give for example 1e-3")


@dataclass(frozen=True)
class AdversarialConfig:
    """Phase 2: the generator against a discriminator.

    Parameters
    ----------
    steps : int
        Length of the phase, counted in steps of the generator; 0 leaves it out.
    loss : str
        Key of ``sr_imaging.losses.games.ADVERSARIAL_LOSSES``.
    weight, pixel_weight, feature_weight : float
        Weights of the adversarial, pixel and feature-matching terms.
    ramp : int
        Steps in which the adversarial weight rises from 0.
    rate, discriminator_rate : float
        Highest learning rates of the two networks (two time-scale updates, Heusel et al. 2017).
    schedule : ScheduleConfig
        How both rates move.
    d_steps : int
        Steps of the discriminator for one of the generator, each on a batch of its own.
    instance_noise : float
        Standard deviation, in that of a patch, of noise on what the discriminator sees; it falls evenly to 0
        over the phase (Sønderby et al. 2017).
    label_smoothing : float
        The label of HR is 1 less this (one-sided; Salimans et al. 2016).
    penalty : str
        Key of ``sr_imaging.losses.penalties.PENALTIES``, or empty for that of the loss itself.
    penalty_weight : float
        Its weight.
    discriminator : str
        Key of ``sr_imaging.networks.discriminators.registry.DISCRIMINATORS``.
    arguments : dict
        Its keyword arguments.
    """

    steps: int = 0
    loss: str = "hinge"
    weight: float = 0.02
    pixel_weight: float = 1.0
    feature_weight: float = 0.0
    ramp: int = 200
    rate: float = 1e-4
    discriminator_rate: float = 4e-4
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    d_steps: int = 1
    instance_noise: float = 0.0
    label_smoothing: float = 0.0
    penalty: str = ""
    penalty_weight: float = 10.0
    discriminator: str = "patch"
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_finite(self, "adversarial")
        require(self.steps >= 0, f"adversarial.steps {self.steps} is negative; give 0 or more")
        require(self.ramp >= 0, f"adversarial.ramp {self.ramp} is negative; give 0 or more steps")
        require(self.d_steps > 0, f"adversarial.d_steps {self.d_steps} is not positive; give 1 or more")
        for name in ("weight", "pixel_weight", "feature_weight", "instance_noise", "penalty_weight"):
            value = getattr(self, name)
            require(value >= 0, f"adversarial.{name} {value} is negative; give 0 or more")
        for name in ("rate", "discriminator_rate"):
            value = getattr(self, name)
            require(value > 0, f"adversarial.{name} {value} is not positive; give for example 1e-4")
        smooth = self.label_smoothing
        require(0 <= smooth < 0.5, f"adversarial.label_smoothing {smooth} is not in 0 to 0.5; 0.1 is usual")


@dataclass(frozen=True)
class LoopConfig:
    """The loop itself.

    Parameters
    ----------
    ema : float
        Decay of the averaged generator that is validated and saved; 0 takes the last weights.
    clip : float
        Largest norm of a gradient; 0 does not clip.
    precision : str
        ``float32``, or autocast to ``bf16`` or ``fp16``.
    accumulate : int
        Parts that a batch is computed in, one after the other: the same step in less memory. Batch norms and
        the means of the relativistic game are of a part.
    recompute : bool
        Keep no activations within the blocks of the generator but compute them again on the way back: a third
        more work, much less memory (Chen et al. 2016).
    patience : int
        End the pixel phase, with its best weights, after this many validations without a better PSNR; 0 does
        not.
    validate_every, checkpoint_every : int
        Steps between validations and between checkpoints; both happen at the end of a phase as well.
    """

    ema: float = 0.999
    clip: float = 1.0
    precision: str = "float32"
    accumulate: int = 1
    recompute: bool = False
    patience: int = 0
    validate_every: int = 500
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        require_finite(self, "loop")
        require(0 <= self.ema < 1, f"loop.ema {self.ema} is not in 0 to below 1; give for example 0.999")
        require(self.clip >= 0, f"loop.clip {self.clip} is negative; give 0 or a norm")
        precisions = ", ".join(PRECISIONS)
        require(
            self.precision in PRECISIONS,
            f"unknown loop.precision {self.precision!r}; use one of {precisions}",
        )
        require(self.accumulate > 0, f"loop.accumulate {self.accumulate} is not positive; give 1 or more")
        require(self.patience >= 0, f"loop.patience {self.patience} is negative; give 0 or more validations")
        for name in ("validate_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value > 0, f"loop.{name} {value} is not positive; give a number of steps")
