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

from .discriminator_accuracy import accuracy_by_image
from .originals import Trial
from .report import Row

__all__ = ["Case", "compare", "discriminator_shares"]


@dataclass(frozen=True)
class Case:
    """A trial, made coarse and refined again."""

    trial: Trial
    lr: xr.DataArray  # coarse scan
    hr: xr.DataArray  # original, cropped to whole LR pixels
    results: dict[str, xr.DataArray]  # estimates ``sr`` and ``cubic``, on the grid of `hr`
    valid: np.ndarray  # bool; pixels of `hr` that count
    span: float  # data range, in the unit of the values

    @property
    def has_spectra(self) -> bool:
        """Return whether the pixels have spectra, of several bands."""
        dims = spatial_dims(self.hr).values()
        return self.hr.ndim == 3 and self.hr.dims[0] not in dims and self.hr.shape[0] > 1


def compare(case: Case, again: Mapping[str, xr.DataArray]) -> Row:
    """Return the figures of a case without a discriminator's; `again` is each estimate made coarse again."""
    own, cubic = (_measure_estimate(case, case.results[name], again[name]) for name in ("sr", "cubic"))
    curves = [_correlate_frequencies(case, case.results[name]) for name in ("sr", "cubic")]
    figures: dict[str, Any] = own | {f"{name}_cubic": value for name, value in cubic.items()}
    row = Row(
        scan=case.trial.scan,
        axes=case.trial.axes,
        unit=case.trial.unit,
        range=case.span,
        pixels=int(case.valid.sum()),
        gain=own["psnr"] - cubic["psnr"],
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


def discriminator_shares(case: Case, generator: Any, discriminator: Any, device: str) -> dict[str, float]:
    """Return the share of right verdicts on ``hr``, ``sr`` and ``cubic``.

    Of a volume under a through-plane model the (z, x) planes are judged.
    """
    dims = [*spatial_dims(case.hr).values()]
    hr, valid, *estimates = (
        _reshape_to_images(da, dims, generator)
        for da in (case.hr, case.hr.copy(data=case.valid), *case.results.values())
    )
    return accuracy_by_image(
        discriminator,
        hr,
        dict(zip(case.results, estimates, strict=True)),
        valid=valid,
        spread=_measure_spread(case.hr, dims, hr),
        fixed_values=generator.fixed_values,
        device=device,
    )


def _measure_estimate(case: Case, estimate: xr.DataArray, again: xr.DataArray) -> dict[str, float]:
    """Return the figures of one estimate; `again` is the estimate made coarse again."""
    sr, hr, valid, span = estimate.values, case.hr.values, case.valid, case.span
    scale = prod(case.trial.factors.values()) ** (1 / max(1, len(case.trial.factors)))
    return {
        "mse": mse(sr, hr, valid=valid),
        "psnr": psnr(sr, hr, data_range=span, valid=valid),
        "ssim": _average_images(ssim, sr, hr, valid, span),
        "ms_ssim": _average_images(ms_ssim, sr, hr, valid, span),
        "sam": _try_metric(sam, sr, hr, valid=valid) if case.has_spectra else nan,
        "ergas": _try_metric(ergas, sr, hr, valid=valid, scale=scale) if case.has_spectra else nan,
        "consistency": _measure_consistency(case, again),
    }


def _try_metric(metric: Any, sr: np.ndarray, hr: np.ndarray, **options: Any) -> float:
    """Return a figure, NaN where a scan does not allow it."""
    try:
        return float(metric(sr, hr, **options))
    except GridError:
        return nan


def _average_images(metric: Any, sr: np.ndarray, hr: np.ndarray, valid: np.ndarray, span: float) -> float:
    """Return the mean over the 2-D images of the last two axes that the metric can measure."""
    images = [x.reshape(-1, *x.shape[-2:]) for x in (sr, hr, valid)]
    pairs = zip(*images, strict=True)
    found = [_try_metric(metric, a, b, data_range=span, valid=keep) for a, b, keep in pairs]
    return float(np.nanmean(found)) if np.isfinite(found).any() else nan


def _correlate_frequencies(case: Case, estimate: xr.DataArray) -> FourierCorrelation | None:
    """Return the Fourier correlation along the refined axes, the mean over bands; None where none can be."""
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


def _measure_consistency(case: Case, again: xr.DataArray) -> float:
    """Return the PSNR, in dB, of an estimate made coarse again against LR."""
    lr = case.lr.isel({dim: slice(0, again.sizes[dim]) for dim in again.dims}).values
    valid = np.isfinite(lr) & np.isfinite(again.values)
    return psnr(again.values, lr, data_range=case.span, valid=valid) if valid.any() else nan


def _reshape_to_images(da: xr.DataArray, dims: Sequence[Any], generator: Any) -> np.ndarray:
    """Return values as ``(N, C, *n)`` images of the kind that the generator makes."""
    lead = [dim for dim in da.dims if dim not in dims]
    order = ["y", "z", "x"] if generator.axes == PLANE_AXES else dims[-len(generator.axes) :]
    values = da.transpose(*lead, *(dim for dim in dims if dim not in order), *order).values
    size = values.shape[-generator.spatial_dims :]
    return np.asarray(values.reshape(-1, generator.in_channels, *size))


def _measure_spread(hr: xr.DataArray, dims: Sequence[Any], images: np.ndarray) -> np.ndarray:
    """Return the (N,) standard deviations of the scan, or of the band, that each image comes from."""
    lead = [dim for dim in hr.dims if dim not in dims]
    each = np.nanstd(hr.transpose(*lead, ...).values.reshape(-1, prod(hr.sizes[dim] for dim in dims)), axis=1)
    if images.shape[1] > 1:
        each = each.reshape(-1, images.shape[1]).max(1)
    return np.repeat(each, len(images) // len(each))
