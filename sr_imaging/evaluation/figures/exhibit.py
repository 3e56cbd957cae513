"""What a model made of a scan, in two rows: crops with the truth, errors and Fourier correlation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.evaluation.comparison import Case
from sr_imaging.evaluation.metrics.fourier import THRESHOLD
from sr_imaging.evaluation.report import Row
from sr_imaging.image.grid.axes import spatial_dims

from .drawing import Plot
from .drawing import Row as PictureRow
from .scan_rows import error_row, picture_row

__all__ = ["case_rows"]


def case_rows(case: Case, row: Row, model: str) -> tuple[PictureRow, ...]:
    """Return crops with their PSNR, and below them errors and curves where there is a correlation."""
    factors = case.trial.factors
    lr = _add_coordinates(case.lr, {dim: s * factors.get(dim, 1.0) for dim, s in case.trial.steps.items()})
    hr = _add_coordinates(case.hr, case.trial.steps)
    names = {"cubic": "cubic", "sr": model}
    results = {names[key]: _add_coordinates(case.results[key], case.trial.steps) for key in names}
    size = "x".join(str(lr.sizes[dim]) for dim in spatial_dims(lr).values())
    labels = {"input": f"input {size}", "truth": "truth", "cubic": f"cubic  {row.psnr_cubic:.2f} dB"}
    labels[model] = f"{model}  {row.psnr:.2f} dB"
    times = " and ".join(dict.fromkeys(f"{s:g}" for s in factors.values()))
    above = picture_row(f"{row.scan}    {row.axes} by {times}", lr, results, hr, labels)
    if not row.frequency:
        return (above,)
    return above, error_row(lr, results, hr, _plot_correlation(row, model))


def _plot_correlation(row: Row, model: str) -> Plot:
    """Return the Fourier correlation of model and cubic with the original."""
    unit = row.unit
    curves = {
        f"cubic, to {row.resolution_cubic:.3g} {unit}": (row.frequency, row.correlation_cubic),
        f"{model}, to {row.resolution:.3g} {unit}": (row.frequency, row.correlation),
    }
    return Plot("Fourier correlation with the truth", curves, f"cycles per {unit}", THRESHOLD)


def _add_coordinates(da: xr.DataArray, steps: Mapping[Any, float]) -> xr.DataArray:
    """Return the array with coordinates, by which the pictures get their shape."""
    missing = [dim for dim in spatial_dims(da).values() if dim not in da.coords]
    return da.assign_coords({dim: np.arange(da.sizes[dim]) * steps[dim] for dim in missing})
