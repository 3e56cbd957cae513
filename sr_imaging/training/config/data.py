"""Settings of a training run that say on what: scans and patches, the degradation, the generator."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from sr_imaging.degradation.noise import NOISE_KINDS
from sr_imaging.degradation.psf import PSF_KINDS, Psf, margin

from .from_table import require, require_finite

__all__ = ["DataConfig", "DegradationConfig", "ModelConfig", "as_range"]

USUAL_SIGMA = 0.4  # LR pixels: a transfer of 0.29 at the Nyquist frequency, as of many optical sensors


@dataclass(frozen=True)
class DataConfig:
    """Scans and how patches are drawn from them.

    Parameters
    ----------
    train : tuple of str
        Files, folders or glob patterns, relative to `root`: scans of full resolution. PNG and JPEG images are
        found where they are named, by file or pattern, and in folders that hold no other scan.
    lr : tuple of str
        The same, of coarse scans of the same places as `train`: then pairs are not simulated. The two lists
        are matched by file name where these agree, otherwise by their order, and aligned by coordinates.
    guide : tuple of str
        The same, of second images that a guided generator sees: at least as fine as `train`.
    validation, validation_lr, validation_guide : tuple of str
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
    nan : str
        What a NaN or infinite value means that the file does not declare as nodata: ``refuse`` raises,
        ``nodata`` leaves it out.
    max_shift : float
        LR pixels by which the contents of a real pair may be displaced against each other.
    own : bool
        The model is for these very scans, so that its card names their spacing beside that of the LR patches.
    cache_gb : float
        Memory for decoded scans; what does not fit is decoded whenever it is drawn from.
    validation_images : int
        Largest number of validation images.
    workers : int
        Processes that draw patches; 0 draws them in the loop.
    """

    train: tuple[str, ...]
    lr: tuple[str, ...] = ()
    guide: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    validation_lr: tuple[str, ...] = ()
    validation_guide: tuple[str, ...] = ()
    root: str = ""
    held_out: float = 0.0
    patch: int | tuple[int, ...] = 32
    batch: int = 16
    per_plane: int = 4
    min_detail: float = 0.2
    patch_weight: float = 0.5
    clip: tuple[float, float] | None = None
    nan: str = "refuse"
    max_shift: float = 0.5
    own: bool = False
    cache_gb: float = 8.0
    validation_images: int = 16
    workers: int = 0

    def __post_init__(self) -> None:
        require_finite(self, "data", but="clip")
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
        require(
            self.validation_images > 0,
            f"data.validation_images {self.validation_images} is not positive; to validate on nothing hold "
            "nothing out",
        )
        require(self.workers >= 0, f"data.workers {self.workers} is negative; give 0 or more processes")
        require(self.nan in ("refuse", "nodata"), f"unknown data.nan {self.nan!r}; use 'refuse' or 'nodata'")
        require(self.max_shift > 0, f"data.max_shift {self.max_shift} is not positive; give LR pixels")
        require(self.cache_gb >= 0, f"data.cache_gb {self.cache_gb} is negative; give 0 or more gigabytes")
        for key in ("lr", "guide"):
            held_out = bool(getattr(self, f"validation_{key}"))
            require(
                not self.validation or held_out == bool(getattr(self, key)),
                f"data.{key} and data.validation_{key} go together; give both or neither",
            )


@dataclass(frozen=True)
class ModelConfig:
    """The generator.

    Parameters
    ----------
    architecture : str
        Key of ``sr_imaging.networks.GENERATORS``.
    arguments : dict
        Its keyword arguments, ``scale`` or ``scale_range`` among them.
    start : str
        Model file or bundled model whose weights the training starts from; none by default.
    """

    architecture: str = "srresnet"
    arguments: dict[str, Any] = field(default_factory=lambda: {"scale": (2, 2)})
    start: str = ""

    def __post_init__(self) -> None:
        require_finite(self, "model")
        if "scale_range" in self.arguments:
            return  # a model of any factor in a range, which states it
        scale = self.arguments.get("scale")
        whole = isinstance(scale, list | tuple) and all(isinstance(s, int) and s >= 1 for s in scale)
        require(
            whole and max(scale, default=1) > 1,  # type: ignore[arg-type]
            f"model.arguments.scale {scale!r} is no list of whole factors above 1; give one per axis: [2, 2]",
        )


@dataclass(frozen=True)
class DegradationConfig:
    """How LR patches are made, in the words of :class:`~sr_imaging.degradation.psf.Psf` and
    `sr_imaging.degrade`.

    A pair of numbers is a range that every patch draws from.

    Parameters
    ----------
    psf : str or tuple of str
        ``gaussian``, ``box``, ``slice-gaussian`` or ``slr``; one for all axes, or one for each axis of the
        generator.
    sigma, fwhm, mtf : float or (float, float)
        Width of ``gaussian``, by one of them: standard deviation in LR pixels, full width at half maximum in
        LR pixels, or transfer of Gaussian and area mean together at the Nyquist frequency.
    thickness : float or (float, float)
        Of the slices of the other kinds, as a fraction of their distance: below 1 leaves a gap, above 1
        overlaps.
    scale : (float, float), optional
        Factors of a generator for any factor; its whole range by default.
    noise : str
        ``none``, ``gaussian``, ``rician`` or ``poisson-gaussian``.
    noise_sigma : float or (float, float)
        Fraction of the scan's standard deviation.
    noise_gain : float or (float, float)
        Of ``poisson-gaussian``: variance per signal, as a fraction of the scan's standard deviation.
    noise_zero : float
        Of ``poisson-gaussian``: value of no signal, in the scan's unit; -1024 for Hounsfield units.
    """

    psf: str | tuple[str, ...] = "gaussian"
    sigma: float | tuple[float, float] = USUAL_SIGMA
    fwhm: float | tuple[float, float] | None = None
    mtf: float | tuple[float, float] | None = None
    thickness: float | tuple[float, float] = 1.0
    scale: tuple[float, float] | None = None
    noise: str = "none"
    noise_sigma: float | tuple[float, float] = 0.0
    noise_gain: float | tuple[float, float] = 0.0
    noise_zero: float = 0.0

    def __post_init__(self) -> None:
        require_finite(self, "degradation")
        kinds = (self.psf,) if isinstance(self.psf, str) else self.psf
        for kind in kinds:
            require(kind in PSF_KINDS, f"unknown psf {kind!r}; use one of {', '.join(PSF_KINDS)}")
        require(
            self.noise in NOISE_KINDS, f"unknown noise {self.noise!r}; use one of {', '.join(NOISE_KINDS)}"
        )
        given = [name for name in ("sigma", "fwhm", "mtf") if getattr(self, name) not in (None, USUAL_SIGMA)]
        require(
            len(given) < 2, f"degradation has {' and '.join(given)}, each a width of psf; keep one of them"
        )
        limits = {"sigma": 10.0, "fwhm": 20.0, "mtf": 0.6366, "thickness": 10.0}
        for name in [*given, "thickness"]:
            low, high = as_range(getattr(self, name))
            require(
                0 < low <= high < limits[name],
                f"degradation.{name} {getattr(self, name)} is no range above 0 and below {limits[name]:g}; "
                "give one or two numbers",
            )
        for name in ("noise_sigma", "noise_gain"):
            low, high = as_range(getattr(self, name))
            require(0 <= low <= high, f"degradation.{name} {getattr(self, name)} is no range; give 0 or more")
        require(
            self.thickness == 1.0 or set(kinds) != {"gaussian"},
            f"degradation.thickness {self.thickness} is of slices, and psf is gaussian; set psf = 'box' or "
            "leave it out",
        )
        self._check_noise()
        low, high = self.scale or (1.0, 2.0)
        require(
            1 <= low <= high, f"degradation.scale {self.scale} is no range of factors; give for example 2, 4"
        )

    def _check_noise(self) -> None:
        """Raise where a kind of noise has no strength, or a strength no kind."""
        sigma, gain = (as_range(value)[1] for value in (self.noise_sigma, self.noise_gain))
        counted = self.noise == "poisson-gaussian"
        require(
            self.noise != "none" or not (sigma or gain),
            f"degradation.noise_sigma {self.noise_sigma} and noise_gain {self.noise_gain} have no kind; "
            "set noise, for example to 'gaussian'",
        )
        require(
            self.noise == "none" or bool(sigma or (gain and counted)),
            f"degradation.noise {self.noise!r} has no strength; set noise_sigma",
        )
        require(
            counted or not gain,
            f"degradation.noise_gain {self.noise_gain} is of 'poisson-gaussian' noise, not {self.noise!r}; "
            "leave it out",
        )

    def psfs(self, axes: int, *, width: float = 0.5, thickness: float = 0.5) -> tuple[Psf, ...]:
        """Return the point-spread function of each axis at a place in the ranges.

        Parameters
        ----------
        axes : int
            Axes of the generator.
        width, thickness : float
            Place in the range of the Gaussian's width and of the slice thickness: 0 is its first number, 1
            its second.

        Raises
        ------
        ConfigError
            If `psf` names another number of axes.
        """
        kinds = (self.psf,) * axes if isinstance(self.psf, str) else self.psf
        require(
            len(kinds) == axes,
            f"degradation.psf {kinds} has not one name for each of {axes} axes; correct it",
        )
        thick = _between(self.thickness, thickness)
        return tuple(
            self._gaussian(width) if kind == "gaussian" else Psf(kind, thickness=thick) for kind in kinds
        )

    def _gaussian(self, place: float) -> Psf:
        """Return the Gaussian at a place in the range of its width."""
        if self.fwhm is not None:
            return Psf.from_fwhm(_between(self.fwhm, place))
        if self.mtf is not None:
            return Psf.from_mtf(_between(self.mtf, place))
        return Psf(sigma=_between(self.sigma, place))

    def widest(self, axes: int) -> tuple[tuple[Psf, ...], ...]:
        """Return, for each axis, the point-spread functions at the ends of the ranges."""
        corners = [self.psfs(axes, width=w, thickness=t) for w, t in product((0.0, 1.0), repeat=2)]
        return tuple(zip(*corners, strict=True))

    def margins(self, scale: Sequence[int]) -> tuple[int, ...]:
        """Return the HR pixels on each side, by axis, that the widest point-spread function sees."""
        widest = self.widest(len(scale))
        return tuple(max(margin(psf, s) for psf in widest[k]) for k, s in enumerate(scale))


def _between(value: float | tuple[float, float], place: float) -> float:
    """Return the number at a place in a range."""
    low, high = as_range(value)
    return low + (high - low) * place


def as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return a number or a pair as (lowest, highest)."""
    return value if isinstance(value, tuple) else (float(value), float(value))
