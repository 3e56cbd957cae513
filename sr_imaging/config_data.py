"""Settings of a training run that say on what: scans and patches, the degradation, the generator."""

from dataclasses import dataclass, field
from typing import Any

from .strict import require

__all__ = ["DataConfig", "DegradationConfig", "ModelConfig", "as_range"]


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
        require(bool(self.train), "data.train names no scans; list files, folders or patterns")
        require(min(sides, default=0) > 0, f"data.patch {self.patch} is not positive; give LR pixels >= 1")
        require(self.batch > 0, f"data.batch {self.batch} is not positive; give >= 1 patches")
        require(self.per_plane > 0, f"data.per_plane {self.per_plane} is not positive; give >= 1 patches")
        require(0 <= self.held_out < 1, f"data.held_out {self.held_out} is no fraction; give 0 to below 1")
        require(0 <= self.min_detail <= 1, f"data.min_detail {self.min_detail} is no fraction; give 0 to 1")
        require(
            0 <= self.patch_weight <= 1, f"data.patch_weight {self.patch_weight} is not in 0 to 1; fix it"
        )
        low, high = self.clip or (0.0, 1.0)
        require(low < high, f"data.clip {self.clip} is no range; give the lowest and the highest value")
        require(self.workers >= 0, f"data.workers {self.workers} is negative; give 0 or more processes")


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
        require(
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
        require(self.psf in ("gaussian", "box"), f"unknown psf {self.psf!r}; use 'gaussian' or 'box'")
        require(
            self.noise in ("none", "gaussian", "rician"),
            f"unknown noise {self.noise!r}; use 'none', 'gaussian' or 'rician'",
        )
        low, high = as_range(self.sigma)
        require(0 < low <= high < 10, f"degradation.sigma {self.sigma} is no range above 0; give LR pixels")
        low, high = as_range(self.noise_sigma)
        require(0 <= low <= high, f"degradation.noise_sigma {self.noise_sigma} is no range; give 0 or more")


def as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return a number or a pair as (lowest, highest)."""
    return value if isinstance(value, tuple) else (float(value), float(value))
