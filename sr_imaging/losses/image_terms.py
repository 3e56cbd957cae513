"""Losses that compare an estimate with the truth: pixel terms, structure terms, feature matching.

Every registry is a dict literal: to add a loss is to write a function and one line. Patches come with a mean
of about zero and a variance of about one, and the few numbers below are meant in that unit.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sr_imaging.errors import ConfigError

__all__ = [
    "PIXEL_LOSSES",
    "STRUCTURE_LOSSES",
    "charbonnier",
    "check_losses",
    "feature_matching",
    "fourier",
    "gradient",
    "spectral_angle",
    "structural_similarity",
    "total_variation",
]

DATA_RANGE = 5.0  # standard deviations; 5.15 lie between percentiles 0.5 and 99.5 of a normal one
WINDOW = 7  # pixels, as in sr_imaging.evaluation.metrics.pixels.ssim
SHORTEST = 1e-3  # standard deviations: a spectrum below this has no direction


def charbonnier(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean of ``sqrt(d ** 2 + 1e-6)``: L1 that is smooth at zero.

    References
    ----------
    P. Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging",
    ICIP 1994; W. Lai et al., CVPR 2017, eq. 2.
    """
    return torch.sqrt((sr - hr) ** 2 + 1e-6).mean()


# estimate and truth of one shape -> scalar
PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "charbonnier": charbonnier,
}


def structural_similarity(
    sr: Tensor, hr: Tensor, *, data_range: float = DATA_RANGE, window: int = WINDOW
) -> Tensor:
    """Return 1 less the mean structural similarity, measured as `evaluation.metrics.pixels.ssim` does.

    Parameters
    ----------
    sr, hr : (B, C, *n) Tensor
        Estimate and truth, each axis at least `window` long.
    data_range : float
        Range of the values. It is the same for all patches, so that what is faint in its scan weighs little.
    window : int
        Side of the uniform window, in pixels; windows lie wholly inside.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13,
    2004, eq. 13. H. Zhao et al., "Loss functions for image restoration with neural networks", IEEE TCI 3,
    2017.
    """
    pool = functional.avg_pool2d if sr.ndim == 4 else functional.avg_pool3d
    moments = [pool(values, window, stride=1) for values in (sr, hr, sr * sr, hr * hr, sr * hr)]
    mean_sr, mean_hr = moments[:2]
    pixels = window ** (sr.ndim - 2)
    sample = pixels / (pixels - 1)  # sample variances, not those of a population
    var_sr, var_hr = sample * (moments[2] - mean_sr**2), sample * (moments[3] - mean_hr**2)
    both = sample * (moments[4] - mean_sr * mean_hr)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean_sr * mean_hr + c1) * (2 * both + c2)
    similarity: Tensor = above / ((mean_sr**2 + mean_hr**2 + c1) * (var_sr + var_hr + c2))
    return 1 - similarity.mean()


def gradient(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute difference of the steps between neighbours, averaged over the axes.

    References
    ----------
    M. Mathieu et al., "Deep multi-scale video prediction beyond mean square error", ICLR 2016 (there
    with the absolute values of the steps).
    """
    return total_variation(sr - hr, hr)


def fourier(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute difference of the Fourier amplitudes.

    The transform is orthonormal, so that amplitudes of patches of any size are about one; all frequencies
    count, since half of them would count those of one axis unlike those of another.

    References
    ----------
    D. Fuoli et al., "Fourier space losses for efficient perceptual image super-resolution", ICCV 2021.
    """
    axes = tuple(range(2, sr.ndim))
    amplitudes = [torch.fft.fftn(values.float(), dim=axes, norm="ortho").abs() for values in (sr, hr)]
    return functional.l1_loss(*amplitudes)


def total_variation(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute step between neighbours of the estimate alone, averaged over the axes.

    References
    ----------
    L. Rudin et al., "Nonlinear total variation based noise removal algorithms", Physica D 60, 1992. S.
    Esedoglu and S. Osher, Comm. Pure Appl. Math. 57, 2004 (the anisotropic form).
    """
    return torch.stack([sr.diff(dim=axis).abs().mean() for axis in range(2, sr.ndim)]).mean()


def spectral_angle(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean angle between the spectra of estimate and truth, in radians.

    Patches are shifted by the mean of each band, so the angle is that between departures from the mean
    spectrum. Pixels whose spectrum is all but zero in one of the two have no direction and do not count.

    References
    ----------
    F. Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment 44, 1993.
    W. Kahan, "How futile are mindless assessments of roundoff in floating-point computation?", 2006, section
    12: the form that is exact for small angles too, and has a finite gradient there.
    """
    lengths = [torch.linalg.vector_norm(values, dim=1, keepdim=True) for values in (sr, hr)]
    counts = (lengths[0] > SHORTEST) & (lengths[1] > SHORTEST)
    safe = [torch.where(counts, values, 1.0) for values in (sr, hr)]  # no gradient out of a zero length
    units = [values / torch.linalg.vector_norm(values, dim=1, keepdim=True) for values in safe]
    apart = torch.linalg.vector_norm(units[0] - units[1], dim=1)
    together = torch.linalg.vector_norm(units[0] + units[1], dim=1)
    angles: Tensor = torch.where(counts[:, 0], 2 * torch.atan2(apart, together), 0.0)
    counted: Tensor = counts.sum().clamp(min=1)
    return angles.sum() / counted


# estimate and truth (B, C, *n), n at least 2, for ssim 7; for spectral_angle C at least 2 -> scalar
STRUCTURE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ssim": structural_similarity,
    "gradient": gradient,
    "fourier": fourier,
    "total_variation": total_variation,
    "spectral_angle": spectral_angle,
}


def check_losses(names: Iterable[str], in_channels: int, size: Sequence[int] = ()) -> None:
    """Raise `ConfigError` at the first structure term that is unknown or does not fit such patches."""
    for name in names:
        if name not in STRUCTURE_LOSSES:
            raise ConfigError(f"unknown structure term {name!r}; use one of {', '.join(STRUCTURE_LOSSES)}")
        if name == "spectral_angle" and in_channels < 2:
            raise ConfigError(
                f"spectral_angle needs at least 2 bands together, the model takes {in_channels}; "
                "set model.arguments.in_channels or leave the term out"
            )
        least = WINDOW if name == "ssim" else 2
        if min(size, default=least) < least:
            raise ConfigError(
                f"{name} needs patches of at least {least} HR pixels on each side, not {tuple(size)}; "
                "raise data.patch or leave the term out"
            )


def feature_matching(sr: Sequence[Tensor], hr: Sequence[Tensor]) -> Tensor:
    """Return the mean L1 distance between the discriminator's feature maps of SR and HR, layer by layer.

    Those of HR take no gradient.

    References
    ----------
    T. Wang et al., "High-resolution image synthesis and semantic manipulation with conditional GANs", CVPR
    2018, eq. 4.
    """
    terms = [functional.l1_loss(s, h.detach()) for s, h in zip(sr, hr, strict=True)]
    return torch.stack(terms).mean()
