"""Settings of a training run that say how: the two phases and the loop under them."""

from dataclasses import dataclass, field
from typing import Any

from .strict import require

__all__ = ["AdversarialConfig", "LoopConfig", "PixelConfig"]


@dataclass(frozen=True)
class PixelConfig:
    """Phase 1: the generator alone.

    Parameters
    ----------
    steps : int
        Length of the phase; 0 leaves it out.
    loss : str
        Key of ``sr_imaging.losses.PIXEL_LOSSES``; it stays in phase 2.
    rate : float
        Highest learning rate.
    warmup : int
        Steps in which the rate rises to `rate`; then it falls as a cosine.
    last_rate : float
        Fraction of `rate` at the end.
    """

    steps: int = 2000
    loss: str = "charbonnier"
    rate: float = 1e-3
    warmup: int = 100
    last_rate: float = 0.01

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"pixel.steps {self.steps} is negative; give 0 or more")
        require(self.rate > 0, f"pixel.rate {self.rate} is not positive; give for example 1e-3")
        require(self.warmup >= 0, f"pixel.warmup {self.warmup} is negative; give 0 or more steps")
        require(0 <= self.last_rate <= 1, f"pixel.last_rate {self.last_rate} is no fraction; give 0 to 1")


@dataclass(frozen=True)
class AdversarialConfig:
    """Phase 2: the generator against a discriminator.

    Parameters
    ----------
    steps : int
        Length of the phase; 0 leaves it out.
    loss : str
        Key of ``sr_imaging.losses.ADVERSARIAL_LOSSES``.
    weight, pixel_weight, feature_weight : float
        Weights of the adversarial, pixel and feature-matching terms.
    ramp : int
        Steps in which the adversarial weight rises from 0.
    rate, discriminator_rate : float
        Learning rates of the two networks; both fall as a cosine.
    discriminator : str
        Key of ``sr_imaging.networks.discriminators.DISCRIMINATORS``.
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
    discriminator: str = "patch"
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"adversarial.steps {self.steps} is negative; give 0 or more")
        require(self.ramp >= 0, f"adversarial.ramp {self.ramp} is negative; give 0 or more steps")
        for name in ("weight", "pixel_weight", "feature_weight"):
            value = getattr(self, name)
            require(value >= 0, f"adversarial.{name} {value} is negative; give 0 or more")
        for name in ("rate", "discriminator_rate"):
            value = getattr(self, name)
            require(value > 0, f"adversarial.{name} {value} is not positive; give for example 1e-4")


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
        ``float32`` or ``bf16`` (autocast).
    validate_every, checkpoint_every : int
        Steps between validations and between checkpoints; both happen at the end of a phase as well.
    """

    ema: float = 0.999
    clip: float = 1.0
    precision: str = "float32"
    validate_every: int = 500
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        require(0 <= self.ema < 1, f"loop.ema {self.ema} is not in 0 to below 1; give for example 0.999")
        require(self.clip >= 0, f"loop.clip {self.clip} is negative; give 0 or a norm")
        require(
            self.precision in ("float32", "bf16"),
            f"unknown loop.precision {self.precision!r}; use 'float32' or 'bf16'",
        )
        for name in ("validate_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value > 0, f"loop.{name} {value} is not positive; give a number of steps")
