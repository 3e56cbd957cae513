"""What a training run is: a small tree of frozen dataclasses, read from strict TOML.

A setting that is unknown, of the wrong type or impossible raises before anything is loaded.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .strict import build

__all__ = [
    "AdversarialConfig",
    "DataConfig",
    "DegradationConfig",
    "LoopConfig",
    "ModelConfig",
    "PixelConfig",
    "TrainConfig",
    "parse_config",
    "read_config",
]


def _require(ok: bool, message: str) -> None:
    """Raise a ConfigError unless a setting is possible."""
    if not ok:
        raise ConfigError(message)


@dataclass(frozen=True)
class DataConfig:
    """Scans and how patches are drawn from them.

    Parameters
    ----------
    train : tuple of str
        Files, folders or glob patterns, relative to `root`.
    validation : tuple of str
        The same, of scans that are held out; none of them may be in `train`.
    root : str
        Folder that the paths start from; ``train(..., data_root=)`` overrides it.
    held_out : float
        Fraction of every training scan, at the far end of its first spatial axis, kept for validation.
    patch : int or tuple of int
        Side of a patch without its halo, in LR pixels, one number or one per axis.
    batch : int
        Patches per step.
    per_plane : int
        Patches drawn from one plane of a scan before another is chosen.
    min_detail : float
        A patch whose standard deviation is below this fraction of its scan's is drawn less, in proportion.
    patch_weight : float
        0 divides a patch by the standard deviation of its scan, 1 by its own; between them geometrically.
    clip : (float, float), optional
        Values of the scans are limited to this range, in their unit: metal and padding in CT.
    validation_images : int
        Largest number of validation images.
    workers : int
        Processes that draw patches; 0 draws them in the loop.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    root: str = ""
    held_out: float = 0.0
    patch: int | tuple[int, ...] = 32
    batch: int = 16
    per_plane: int = 4
    min_detail: float = 0.2
    patch_weight: float = 0.5
    clip: tuple[float, float] | None = None
    validation_images: int = 16
    workers: int = 0

    def __post_init__(self) -> None:
        sides = (self.patch,) if isinstance(self.patch, int) else self.patch
        _require(bool(self.train), "data.train names no scans; list files, folders or patterns")
        _require(min(sides, default=0) > 0, f"data.patch {self.patch} is not positive; give LR pixels >= 1")
        _require(self.batch > 0, f"data.batch {self.batch} is not positive; give >= 1 patches")
        _require(self.per_plane > 0, f"data.per_plane {self.per_plane} is not positive; give >= 1 patches")
        _require(0 <= self.held_out < 1, f"data.held_out {self.held_out} is no fraction; give 0 to below 1")
        _require(0 <= self.min_detail <= 1, f"data.min_detail {self.min_detail} is no fraction; give 0 to 1")
        _require(
            0 <= self.patch_weight <= 1, f"data.patch_weight {self.patch_weight} is not in 0 to 1; fix it"
        )
        low, high = self.clip or (0.0, 1.0)
        _require(low < high, f"data.clip {self.clip} is no range; give the lowest and the highest value")
        _require(self.workers >= 0, f"data.workers {self.workers} is negative; give 0 or more processes")


@dataclass(frozen=True)
class ModelConfig:
    """The generator.

    Parameters
    ----------
    architecture : str
        Key of ``sr_imaging.networks.GENERATORS``.
    arguments : dict
        Its keyword arguments, ``scale`` among them.
    start : str
        Model file or bundled model whose weights the training starts from; none by default.
    """

    architecture: str = "srresnet"
    arguments: dict[str, Any] = field(default_factory=lambda: {"scale": (2, 2)})
    start: str = ""

    def __post_init__(self) -> None:
        scale = self.arguments.get("scale")
        whole = isinstance(scale, list | tuple) and all(isinstance(s, int) and s >= 1 for s in scale)
        _require(
            whole and max(scale, default=1) > 1,  # type: ignore[arg-type]
            f"model.arguments.scale {scale!r} is no list of whole factors above 1; give one per axis: [2, 2]",
        )


@dataclass(frozen=True)
class DegradationConfig:
    """How LR patches are made, as in :mod:`sr_imaging.degradation`.

    Parameters
    ----------
    psf : str
        ``gaussian`` or ``box``.
    sigma : float or (float, float)
        Of the Gaussian, in LR pixels; a pair is a range to draw from at every step.
    noise : str
        ``none``, ``gaussian`` or ``rician``.
    noise_sigma : float or (float, float)
        Fraction of the scan's standard deviation; a pair is a range to draw from for every patch.
    """

    psf: str = "gaussian"
    sigma: float | tuple[float, float] = 0.4
    noise: str = "none"
    noise_sigma: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        _require(self.psf in ("gaussian", "box"), f"unknown psf {self.psf!r}; use 'gaussian' or 'box'")
        _require(
            self.noise in ("none", "gaussian", "rician"),
            f"unknown noise {self.noise!r}; use 'none', 'gaussian' or 'rician'",
        )
        low, high = as_range(self.sigma)
        _require(0 < low <= high < 10, f"degradation.sigma {self.sigma} is no range above 0; give LR pixels")
        low, high = as_range(self.noise_sigma)
        _require(0 <= low <= high, f"degradation.noise_sigma {self.noise_sigma} is no range; give 0 or more")


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
        _require(self.steps >= 0, f"pixel.steps {self.steps} is negative; give 0 or more")
        _require(self.rate > 0, f"pixel.rate {self.rate} is not positive; give for example 1e-3")
        _require(self.warmup >= 0, f"pixel.warmup {self.warmup} is negative; give 0 or more steps")
        _require(0 <= self.last_rate <= 1, f"pixel.last_rate {self.last_rate} is no fraction; give 0 to 1")


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
        _require(self.steps >= 0, f"adversarial.steps {self.steps} is negative; give 0 or more")
        _require(self.ramp >= 0, f"adversarial.ramp {self.ramp} is negative; give 0 or more steps")
        for name in ("weight", "pixel_weight", "feature_weight"):
            value = getattr(self, name)
            _require(value >= 0, f"adversarial.{name} {value} is negative; give 0 or more")
        for name in ("rate", "discriminator_rate"):
            value = getattr(self, name)
            _require(value > 0, f"adversarial.{name} {value} is not positive; give for example 1e-4")


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
        _require(0 <= self.ema < 1, f"loop.ema {self.ema} is not in 0 to below 1; give for example 0.999")
        _require(self.clip >= 0, f"loop.clip {self.clip} is negative; give 0 or a norm")
        _require(
            self.precision in ("float32", "bf16"),
            f"unknown loop.precision {self.precision!r}; use 'float32' or 'bf16'",
        )
        for name in ("validate_every", "checkpoint_every"):
            value = getattr(self, name)
            _require(value > 0, f"loop.{name} {value} is not positive; give a number of steps")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run.

    Parameters
    ----------
    name : str
        Name of the model and stem of its files.
    data, model, degradation, pixel, adversarial, loop
        The parts.
    output : str
        Folder for model files, log and checkpoint, relative to the working folder.
    seed : int
        Everything random follows from it.
    modality, description, licence : str
        For the model card.
    data_sources : tuple of str
        For the model card: what it was trained on, with licences.
    """

    name: str
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    pixel: PixelConfig = field(default_factory=PixelConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    output: str = "runs"
    seed: int = 0
    modality: str = ""
    description: str = ""
    licence: str = ""
    data_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain = self.name and Path(self.name).name == self.name
        _require(bool(plain), f"name {self.name!r} is no plain file name; give for example 'raster-x2'")
        _require(self.seed >= 0, f"seed {self.seed} is negative; give a whole number >= 0")
        total = self.pixel.steps + self.adversarial.steps
        _require(total > 0, "pixel.steps and adversarial.steps are both 0; give one of them some steps")


def as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return a number or a pair as (lowest, highest)."""
    return value if isinstance(value, tuple) else (float(value), float(value))


def read_config(path: str | os.PathLike[str]) -> TrainConfig:
    """Read a training run from a TOML file.

    Parameters
    ----------
    path : path
        File whose tables and keys are the fields of :class:`TrainConfig`.

    Returns
    -------
    TrainConfig
        Checked.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or a setting is unknown, of the wrong type or impossible.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}; correct that line") from error
    return parse_config(table, source=str(path))


def parse_config(table: Mapping[str, Any], *, source: str = "the settings") -> TrainConfig:
    """Build a training run from nested dicts, as TOML gives them.

    Parameters
    ----------
    table : mapping
        Keys are the fields of :class:`TrainConfig`.
    source : str
        Where they come from, for messages.

    Returns
    -------
    TrainConfig
        Checked.

    Raises
    ------
    ConfigError
        If a setting is unknown, missing, of the wrong type or impossible.

    Examples
    --------
    >>> parse_config({"name": "a", "data": {"train": ["*.tif"], "patch": 24}}).data.patch
    24
    """
    config: TrainConfig = build(TrainConfig, table, source=source)
    return config
