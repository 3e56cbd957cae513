"""The figures of one scan: estimate and interpolation against the original, over the pixels valid in all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan, prod
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError
from sr_imaging.evaluation.metrics.fourier import FourierCorrelation, fourier_correlation
from sr_imaging.evaluation.metrics.pixels import ms_ssim, mse, psnr, ssim
from sr_imaging.evaluation.metrics.spectra import ergas, sam
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.networks import PLANE_AXES

from .discriminator_accuracy import verdicts
from .originals import Trial
from .report import Row

__all__ = ["Case", "accuracy", "compare"]


@dataclass(frozen=True)
class Case:
    """A trial, made coarse and refined again.

    Parameters
    ----------
    trial : Trial
        What was done.
    lr, hr : DataArray
        Coarse scan, and original cropped to whole LR pixels.
    results : dict
        Estimates ``sr`` and ``cubic``, on the grid of `hr`.
    valid : bool ndarray
        Pixels of `hr` that count.
    span : float
        Data range, in the unit of the values.
    """

    trial: Trial
    lr: xr.DataArray
    hr: xr.DataArray
    results: dict[str, xr.DataArray]
    valid: np.ndarray
    span: float

    @property
    def bands(self) -> bool:
        """Whether the pixels have spectra."""
        dims = spatial_dims(self.hr).values()
        return self.hr.ndim == 3 and self.hr.dims[0] not in dims and self.hr.shape[0] > 1


def compare(case: Case, again: Mapping[str, xr.DataArray]) -> Row:
    """Return the figures of a case.

    Parameters
    ----------
    case : Case
        What to compare.
    again : mapping
        The estimates made coarse again, by their names.

    Returns
    -------
    Row
        Without those of a discriminator.
    """
    own, beside = (
        _figures(case, case.results[name]) | {"consistency": _consistency(case, again[name])}
        for name in ("sr", "cubic")
    )
    curves = [_correlation(case, case.results[name]) for name in ("sr", "cubic")]
    figures: dict[str, Any] = own | {f"{name}_cubic": value for name, value in beside.items()}
    row = Row(
        scan=case.trial.scan,
        axes=case.trial.axes,
        unit=case.trial.unit,
        range=case.span,
        pixels=int(case.valid.sum()),
        gain=own["psnr"] - beside["psnr"],
        **figures,
    )
    if curves[0] is None or curves[1] is None:
        return row
    return replace(
        row,
        frequency=curves[0].frequency,
        correlation=curves[0].correlation,
        correlation_cubic=curves[1].correlation,
        resolution=curves[0].resolution(),
        resolution_cubic=curves[1].resolution(),
    )


def accuracy(case: Case, generator: Any, discriminator: Any, device: str) -> dict[str, float]:
    """Return the share of right verdicts on the original, the estimate and the interpolation.

    Parameters
    ----------
    case : Case
        What to look at; of a volume under a through-plane model, its (z, x) planes.
    generator : Generator
        Whose bands, axes and values the images have.
    discriminator : nn.Module
        As :func:`sr_imaging.models.discriminator_file.load_discriminator` returns it.
    device : str
        Where to run.

    Returns
    -------
    dict of float
        ``hr``, ``sr``, ``cubic``.

    Raises
    ------
    ConfigError
        If the discriminator is for other patches.
    """
    dims = [*spatial_dims(case.hr).values()]
    hr, valid, *laid = (
        _as_images(da, dims, generator)
        for da in (case.hr, case.hr.copy(data=case.valid), *case.results.values())
    )
    return verdicts(
        discriminator,
        hr,
        dict(zip(case.results, laid, strict=True)),
        valid=valid,
        spread=_spread(case.hr, dims, hr),
        fixed_values=generator.fixed_values,
        device=device,
    )


def _figures(case: Case, estimate: xr.DataArray) -> dict[str, float]:
    """All that is measured of one estimate."""
    sr, hr, valid, span = estimate.values, case.hr.values, case.valid, case.span
    scale = prod(case.trial.factors.values()) ** (1 / max(1, len(case.trial.factors)))
    return {
        "mse": mse(sr, hr, valid=valid),
        "psnr": psnr(sr, hr, data_range=span, valid=valid),
        "ssim": _mean_of_images(ssim, sr, hr, valid, span),
        "ms_ssim": _mean_of_images(ms_ssim, sr, hr, valid, span),
        "sam": _or_nan(sam, sr, hr, valid=valid) if case.bands else nan,
        "ergas": _or_nan(ergas, sr, hr, valid=valid, scale=scale) if case.bands else nan,
    }


def _or_nan(metric: Any, sr: np.ndarray, hr: np.ndarray, **options: Any) -> float:
    """A figure, or NaN where a scan does not allow it."""
    try:
        return float(metric(sr, hr, **options))
    except GridError:
        return nan


def _mean_of_images(metric: Any, sr: np.ndarray, hr: np.ndarray, valid: np.ndarray, span: float) -> float:
    """Mean over the 2-D images of the last two axes that are large enough and have valid windows."""
    images = [x.reshape(-1, *x.shape[-2:]) for x in (sr, hr, valid)]
    found = [_or_nan(metric, a, b, data_range=span, valid=keep) for a, b, keep in zip(*images, strict=True)]
    return float(np.nanmean(found)) if np.isfinite(found).any() else nan


def _correlation(case: Case, estimate: xr.DataArray) -> FourierCorrelation | None:
    """Fourier correlation along the refined axes: the mean over bands; None where there is none."""
    dims = spatial_dims(case.hr).values()
    lead = sum(dim not in dims for dim in case.hr.dims)
    axes = tuple(case.hr.dims.index(dim) - lead for dim in case.trial.factors)
    spacing = [case.trial.steps[dim] for dim in case.trial.factors]
    found: list[FourierCorrelation] = []
    images = [x.reshape(-1, *x.shape[lead:]) for x in (estimate.values, case.hr.values, case.valid)]
    for sr, hr, keep in zip(*images, strict=True):
        try:
            found.append(fourier_correlation(sr, hr, spacing=spacing, axes=axes, valid=keep))
        except GridError:  # too small, constant, or nodata everywhere
            continue
    if not found:
        return None
    most = max(len(one.frequency) for one in found)  # a band with more holes may have fewer rings
    alike = [one for one in found if len(one.frequency) == most]
    mean = np.mean([one.correlation for one in alike], axis=0)
    return replace(alike[0], correlation=tuple(mean.tolist()))


def _consistency(case: Case, again: xr.DataArray) -> float:
    """PSNR of a degraded estimate against LR."""
    lr = case.lr.isel({dim: slice(0, again.sizes[dim]) for dim in again.dims}).values
    valid = np.isfinite(lr) & np.isfinite(again.values)
    return psnr(again.values, lr, data_range=case.span, valid=valid) if valid.any() else nan


def _as_images(da: xr.DataArray, dims: Sequence[Any], generator: Any) -> np.ndarray:
    """Values as ``(N, C, *n)`` images of the kind that the generator makes."""
    lead = [dim for dim in da.dims if dim not in dims]
    order = ["y", "z", "x"] if generator.axes == PLANE_AXES else dims[-len(generator.axes) :]
    values = da.transpose(*lead, *(dim for dim in dims if dim not in order), *order).values
    size = values.shape[-generator.spatial_dims :]
    return np.asarray(values.reshape(-1, generator.in_channels, *size))


def _spread(hr: xr.DataArray, dims: Sequence[Any], images: np.ndarray) -> np.ndarray:
    """Standard deviation of the scan that each image is of; that of its band where bands go one by one."""
    lead = [dim for dim in hr.dims if dim not in dims]
    each = np.nanstd(hr.transpose(*lead, ...).values.reshape(-1, prod(hr.sizes[dim] for dim in dims)), axis=1)
    if images.shape[1] > 1:
        each = each.reshape(-1, images.shape[1]).max(1)
    return np.repeat(each, len(images) // len(each))
