"""What a model made of a scan, in two rows: crops beside the truth, errors and Fourier correlation."""

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
from .scan_rows import error_row, row_of

__all__ = ["Exhibit"]


@dataclass(frozen=True)
class Exhibit:
    """All that is to be seen of one trial.

    Parameters
    ----------
    trial : Trial
        What was done.
    lr, hr : DataArray
        Coarse scan and original.
    results : mapping
        Estimates ``sr`` and ``cubic``, on the grid of `hr`.
    model : str
        Name of the model.
    """

    trial: Trial
    lr: xr.DataArray
    hr: xr.DataArray
    results: Mapping[str, xr.DataArray]
    model: str

    def rows(self, row: Row) -> tuple[PictureRow, ...]:
        """Return the pictures of the trial.

        Parameters
        ----------
        row : Row
            Its figures.

        Returns
        -------
        tuple of pictures.Row
            Crops with their PSNR, and below them errors and curves; the second row is missing where nothing
            could be correlated.
        """
        factors = self.trial.factors
        lr = self._placed(self.lr, factors)
        hr = self._placed(self.hr, {})
        named = {"cubic": "cubic", "sr": self.model}
        results = {named[key]: self._placed(self.results[key], {}) for key in named}
        size = "x".join(str(lr.sizes[dim]) for dim in spatial_dims(lr).values())
        labels = {"input": f"input {size}", "truth": "truth", "cubic": f"cubic  {row.psnr_cubic:.2f} dB"}
        labels[self.model] = f"{self.model}  {row.psnr:.2f} dB"
        times = " and ".join(dict.fromkeys(f"{s:g}" for s in factors.values()))
        above = row_of(f"{row.scan}    {row.axes} by {times}", lr, results, hr, labels)
        if not row.frequency:
            return (above,)
        return above, error_row(lr, results, hr, self._plot(row))

    def _plot(self, row: Row) -> Plot:
        """The Fourier correlation of model and cubic with the original."""
        unit = row.unit
        curves = {
            f"cubic, to {row.resolution_cubic:.3g} {unit}": (row.frequency, row.correlation_cubic),
            f"{self.model}, to {row.resolution:.3g} {unit}": (row.frequency, row.correlation),
        }
        return Plot("Fourier correlation with the truth", curves, f"cycles per {unit}", THRESHOLD)

    def _placed(self, da: xr.DataArray, factors: Mapping[object, float]) -> xr.DataArray:
        """The array with coordinates, by which the pictures get their shape."""
        missing = [dim for dim in spatial_dims(da).values() if dim not in da.coords]
        step = {dim: self.trial.steps[dim] * factors.get(dim, 1.0) for dim in missing}
        return da.assign_coords({dim: np.arange(da.sizes[dim]) * step[dim] for dim in missing})
