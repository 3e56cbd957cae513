"""What a model made of a scan, in two rows: crops with the truth, errors and Fourier correlation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sr_imaging.evaluation.metrics.fourier import THRESHOLD
from sr_imaging.evaluation.originals import Trial
from sr_imaging.evaluation.report import Row
from sr_imaging.image.grid.axes import spatial_dims

from .drawing import Plot
from .drawing import Row as PictureRow
from .scan_rows import error_row, picture_row

__all__ = ["Exhibit"]


@dataclass(frozen=True)
class Exhibit:
    """All that is shown of one trial."""

    trial: Trial
    lr: xr.DataArray  # coarse scan
    hr: xr.DataArray  # original
    results: Mapping[str, xr.DataArray]  # estimates ``sr`` and ``cubic``, on the grid of `hr`
    model: str  # its name

    def rows(self, row: Row) -> tuple[PictureRow, ...]:
        """Return crops with their PSNR, and below them errors and curves where there is a correlation."""
        factors = self.trial.factors
        lr = self._add_coordinates(self.lr, factors)
        hr = self._add_coordinates(self.hr, {})
        named = {"cubic": "cubic", "sr": self.model}
        results = {named[key]: self._add_coordinates(self.results[key], {}) for key in named}
        size = "x".join(str(lr.sizes[dim]) for dim in spatial_dims(lr).values())
        labels = {"input": f"input {size}", "truth": "truth", "cubic": f"cubic  {row.psnr_cubic:.2f} dB"}
        labels[self.model] = f"{self.model}  {row.psnr:.2f} dB"
        times = " and ".join(dict.fromkeys(f"{s:g}" for s in factors.values()))
        above = picture_row(f"{row.scan}    {row.axes} by {times}", lr, results, hr, labels)
        if not row.frequency:
            return (above,)
        return above, error_row(lr, results, hr, self._plot_correlation(row))

    def _plot_correlation(self, row: Row) -> Plot:
        """Return the Fourier correlation of model and cubic with the original."""
        unit = row.unit
        curves = {
            f"cubic, to {row.resolution_cubic:.3g} {unit}": (row.frequency, row.correlation_cubic),
            f"{self.model}, to {row.resolution:.3g} {unit}": (row.frequency, row.correlation),
        }
        return Plot("Fourier correlation with the truth", curves, f"cycles per {unit}", THRESHOLD)

    def _add_coordinates(self, da: xr.DataArray, factors: Mapping[object, float]) -> xr.DataArray:
        """Return the array with coordinates, by which the pictures get their shape."""
        missing = [dim for dim in spatial_dims(da).values() if dim not in da.coords]
        step = {dim: self.trial.steps[dim] * factors.get(dim, 1.0) for dim in missing}
        return da.assign_coords({dim: np.arange(da.sizes[dim]) * step[dim] for dim in missing})
