"""How LR patches are made, as a setting: PSF or slice profile, noise, each a number or a range."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from sr_imaging.bounds import bounded, check_settings, one_of, require

from .noise import NOISE_KINDS
from .psf import PSF_KINDS, Psf, margin

__all__ = ["DegradationConfig", "as_range"]
USUAL_SIGMA = 0.4  # LR pixels: a transfer of 0.29 at the Nyquist frequency, as of many optical sensors


@dataclass(frozen=True)
class DegradationConfig:
    """How LR patches are made, in the words of :class:`~sr_imaging.degradation.psf.Psf`.

    A pair of numbers is a range that every patch draws from; `sigma`, `fwhm` and `mtf` are the width of the
    Gaussian, given by one of them.
    """

    psf: str | tuple[str, ...] = one_of("gaussian", PSF_KINDS, several=True)  # of all axes, or one for each
    sigma: float | tuple[float, float] = bounded(
        USUAL_SIGMA, above=0, below=10, unit="LR pixels", rising=True
    )
    fwhm: float | tuple[float, float] | None = bounded(
        None, above=0, below=20, unit="LR pixels", rising=True, remedy="give for example 1.0"
    )
    # transfer of Gaussian and area mean together at the Nyquist frequency; the area mean alone has 0.6366
    mtf: float | tuple[float, float] | None = bounded(
        None, above=0, below=0.6366, rising=True, remedy="give for example 0.3"
    )
    # of the slices of other kinds, as a fraction of their distance: below 1 leaves a gap, above 1 overlaps
    thickness: float | tuple[float, float] = bounded(1.0, above=0, below=10, rising=True)
    # factors of a generator for any factor; its whole range by default
    scale: tuple[float, float] | None = bounded(None, low=1, rising=True, remedy="give for example (2, 4)")
    noise: str = one_of("none", NOISE_KINDS)
    # fraction of the scan's standard deviation
    noise_sigma: float | tuple[float, float] = bounded(0.0, low=0, rising=True, remedy="give for example 0.1")
    # of poisson-gaussian: variance per signal, as a fraction of the scan's standard deviation
    noise_gain: float | tuple[float, float] = bounded(0.0, low=0, rising=True, remedy="give for example 0.1")
    noise_zero: float = 0.0  # of poisson-gaussian: value of no signal, in the scan's unit; -1024 for CT in HU

    def __post_init__(self) -> None:
        check_settings(self, "degradation")
        given = [name for name in ("sigma", "fwhm", "mtf") if getattr(self, name) not in (None, USUAL_SIGMA)]
        require(
            len(given) < 2, f"degradation has {' and '.join(given)}, each a width of psf; keep one of them"
        )
        kinds = (self.psf,) if isinstance(self.psf, str) else self.psf
        require(
            self.thickness == 1.0 or set(kinds) != {"gaussian"},
            f"degradation.thickness {self.thickness} is of slices, and psf is gaussian; set psf = 'box' or "
            "leave it out",
        )
        self._check_noise()
        require(
            self.scale is None or isinstance(self.scale, tuple | list),
            f"degradation.scale must be a lower and a higher factor, got {self.scale}; give for example 2, 4",
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
        """Return the point-spread function of each axis at places in the ranges, 0 for low to 1 for high."""
        kinds = (self.psf,) * axes if isinstance(self.psf, str) else self.psf
        require(
            len(kinds) == axes,
            f"degradation.psf {kinds} must have one name for each of {axes} axes; correct it",
        )
        thick = _interpolate_range(self.thickness, thickness)
        return tuple(
            self._make_gaussian(width) if kind == "gaussian" else Psf(kind, thickness=thick) for kind in kinds
        )

    def _make_gaussian(self, place: float) -> Psf:
        """Return the Gaussian at a place in the range of its width."""
        if self.fwhm is not None:
            return Psf.from_fwhm(_interpolate_range(self.fwhm, place))
        if self.mtf is not None:
            return Psf.from_mtf(_interpolate_range(self.mtf, place))
        return Psf(sigma=_interpolate_range(self.sigma, place))

    def widest(self, axes: int) -> tuple[tuple[Psf, ...], ...]:
        """Return, for each axis, the point-spread functions at the ends of the ranges."""
        corners = [self.psfs(axes, width=w, thickness=t) for w, t in product((0.0, 1.0), repeat=2)]
        return tuple(zip(*corners, strict=True))

    def margins(self, scale: Sequence[int]) -> tuple[int, ...]:
        """Return the HR pixels on each side, by axis, that the widest point-spread function sees."""
        widest = self.widest(len(scale))
        return tuple(max(margin(psf, s) for psf in widest[k]) for k, s in enumerate(scale))


def _interpolate_range(value: float | tuple[float, float], place: float) -> float:
    """Return the number at a place in a range."""
    low, high = as_range(value)
    return low + (high - low) * place


def as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return a number or a pair as (lowest, highest)."""
    low, high = value if isinstance(value, tuple | list) else (value, value)
    return float(low), float(high)


def describe(degradation: DegradationConfig, *, real: bool = False) -> str:
    """Return one sentence on how LR was made; `real` where LR are scans of their own.

    >>> describe(DegradationConfig())
    'Gaussian of 0.4 LR pixels, then area mean'
    >>> describe(DegradationConfig(psf="slr", thickness=0.8, noise="rician", noise_sigma=(0.0, 0.1)))
    'slr slice of 0.8 of the slice distance, rician noise of 0 to 0.1 standard deviations of the scan'
    """
    if real:
        text = "real pairs of scans"
    else:
        kinds = (degradation.psf,) if isinstance(degradation.psf, str) else degradation.psf
        text = " and ".join(dict.fromkeys(_describe_profile(degradation, kind) for kind in kinds))
    if degradation.noise == "none":
        return text
    strength = _describe_range(degradation.noise_sigma)
    text = f"{text}, {degradation.noise} noise of {strength} standard deviations of the scan"
    if degradation.noise == "poisson-gaussian":
        text += f" and {_describe_range(degradation.noise_gain)} of them as variance per signal"
    return text


def _describe_profile(degradation: DegradationConfig, kind: str) -> str:
    """Return words for one point-spread function."""
    if kind != "gaussian":
        thickness = _describe_range(degradation.thickness)
        return (
            "area mean"
            if (kind, thickness) == ("box", "1")
            else f"{kind} slice of {thickness} of the slice distance"
        )
    if degradation.fwhm is not None:
        return f"Gaussian of {_describe_range(degradation.fwhm)} LR pixels at half maximum, then area mean"
    if degradation.mtf is not None:
        return (
            f"Gaussian and area mean of transfer {_describe_range(degradation.mtf)} at the Nyquist frequency"
        )
    return f"Gaussian of {_describe_range(degradation.sigma)} LR pixels, then area mean"


def _describe_range(value: float | tuple[float, float]) -> str:
    """Return words for a number or a range."""
    low, high = as_range(value)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
