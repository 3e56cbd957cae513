"""How LR patches are made, as a setting: PSF or slice profile, noise, each a number or a range."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from sr_imaging.errors import require, require_finite

from .noise import NOISE_KINDS
from .psf import PSF_KINDS, Psf, margin

__all__ = ["DegradationConfig", "as_range"]
USUAL_SIGMA = 0.4  # LR pixels: a transfer of 0.29 at the Nyquist frequency, as of many optical sensors


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


def describe(degradation: DegradationConfig, *, real: bool = False) -> str:
    """Return one sentence on how LR was made.

    Parameters
    ----------
    degradation : DegradationConfig
        The settings.
    real : bool
        LR are scans of their own; the point-spread function is that of the instruments.

    Examples
    --------
    >>> describe(DegradationConfig())
    'Gaussian of 0.4 LR pixels, then area mean'
    >>> describe(DegradationConfig(psf="slr", thickness=0.8, noise="rician", noise_sigma=(0.0, 0.1)))
    'slr slice of 0.8 of the slice distance, rician noise of 0 to 0.1 standard deviations of the scan'
    """
    if real:
        text = "real pairs of scans"
    else:
        kinds = (degradation.psf,) if isinstance(degradation.psf, str) else degradation.psf
        text = " and ".join(dict.fromkeys(_profile(degradation, kind) for kind in kinds))
    if degradation.noise == "none":
        return text
    strength = _span(degradation.noise_sigma)
    text = f"{text}, {degradation.noise} noise of {strength} standard deviations of the scan"
    if degradation.noise == "poisson-gaussian":
        text += f" and {_span(degradation.noise_gain)} of them as variance per signal"
    return text


def _profile(degradation: DegradationConfig, kind: str) -> str:
    """Words for one point-spread function."""
    if kind != "gaussian":
        thickness = _span(degradation.thickness)
        return (
            "area mean"
            if (kind, thickness) == ("box", "1")
            else f"{kind} slice of {thickness} of the slice distance"
        )
    if degradation.fwhm is not None:
        return f"Gaussian of {_span(degradation.fwhm)} LR pixels at half maximum, then area mean"
    if degradation.mtf is not None:
        return f"Gaussian and area mean of transfer {_span(degradation.mtf)} at the Nyquist frequency"
    return f"Gaussian of {_span(degradation.sigma)} LR pixels, then area mean"


def _span(value: float | tuple[float, float]) -> str:
    """Words for a number or a range."""
    low, high = as_range(value)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
