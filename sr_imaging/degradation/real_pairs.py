"""Two scans of one place, placed over each other by their coordinates, and by their contents as a check."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.frames import ROUNDING, Line, align_lines

from .arrays import degrade
from .content_shift import content_shift
from .psf import Psf

__all__ = ["AlignedPair", "aligned_pair"]

_LARGEST = {2: 512, 3: 96}  # coarse pixels: side of the middle whose contents are compared, by axes


@dataclass(frozen=True)
class AlignedPair:
    """Two scans cropped to the pixels that both have.

    Parameters
    ----------
    fine, coarse : DataArray
        Cropped; each coarse pixel has a whole block of fine ones.
    scale : tuple of int
        Fine pixels per coarse pixel along the spatial axes, in the order z, y, x.
    offset : tuple of float
        What remains between the grids, by their coordinates: how far the coarse one lies behind the blocks
        of the fine one, in coarse pixels, along the axis; at most half a fine pixel.
    """

    fine: xr.DataArray
    coarse: xr.DataArray
    scale: tuple[int, ...]
    offset: tuple[float, ...]

    def shift(self, *, psf: Psf | Mapping[Any, Psf] | None = None) -> tuple[float, ...]:
        """Return how far the content of the coarse scan lies behind that of the fine one.

        The middle of the fine scan is degraded onto the coarse grid and both are correlated, bands averaged.

        Parameters
        ----------
        psf : Psf or mapping, optional
            How the coarse scan sees the fine one, as in :func:`sr_imaging.degrade`.

        Returns
        -------
        tuple of float
            In coarse pixels along the spatial axes, in the order z, y, x.
        """
        fine, coarse = self.fine, self.coarse
        dims = [*zip(*(spatial_dims(da).values() for da in (fine, coarse)), strict=True)]
        for (fine_dim, dim), s in zip(dims, self.scale, strict=True):
            side = _LARGEST[min(3, max(2, len(dims)))]
            first = max(0, (coarse.sizes[dim] - side) // 2)
            coarse = coarse.isel({dim: slice(first, first + side)})
            fine = fine.isel({fine_dim: slice(first * s, (first + side) * s)})
        factors = {dim: s for (dim, _), s in zip(dims, self.scale, strict=True)}
        seen = degrade(fine, factors, psf=psf, dtype=np.float64)
        return content_shift(_average_bands(seen), _average_bands(coarse))


def aligned_pair(fine: xr.DataArray, coarse: xr.DataArray) -> AlignedPair:
    """Place a coarse scan over a fine one of the same place and crop both to what they share.

    Arrays that both state no place are taken to cover the same area.

    Parameters
    ----------
    fine, coarse : DataArray
        Rasters of one CRS, or volumes of parallel axes. Not changed, not computed where lazy.

    Returns
    -------
    AlignedPair
        With ``fine``, ``coarse``, ``scale``, ``offset`` and the method ``shift()``. An axis of the coarse
        scan that runs the other way is turned.

    Raises
    ------
    GridError
        If the axes, CRS or directions differ, a coarse pixel is not a whole number of fine ones, or the
        scans do not overlap; with the numbers.

    Examples
    --------
    >>> fine = xr.DataArray(np.zeros((6, 8)), dims=("y", "x"))
    >>> aligned_pair(fine, xr.DataArray(np.zeros((3, 4)), dims=("y", "x"))).scale
    (2, 2)
    """
    scale, offset = [], []
    for axis, (own, other) in align_lines(fine, coarse).items():
        fine_dim, dim = (spatial_dims(da)[axis] for da in (fine, coarse))
        if against := own.step * other.step < 0:
            coarse = coarse.isel({dim: slice(None, None, -1)})
        s, first, last, start, rest = _find_overlap(axis, own, other.turned() if against else other)
        coarse = coarse.isel({dim: slice(first, last)})
        fine = fine.isel({fine_dim: slice(start, start + (last - first) * s)})
        scale.append(s)
        offset.append(rest / s)
    return AlignedPair(fine, coarse, tuple(scale), tuple(offset))


def _find_overlap(axis: str, own: Line, other: Line) -> tuple[int, int, int, int, float]:
    """Return factor, first and last coarse pixel with a whole block, its first fine pixel, and the rest."""
    ratio = other.step / own.step
    s = round(ratio)
    if s < 1 or abs(ratio - s) * min(other.size, own.size / ratio) > max(1, s) / 2:
        raise GridError(
            f"along {axis} a coarse pixel of {abs(other.step):g} is {ratio:.4g} fine pixels of "
            f"{abs(own.step):g}, not a whole number; resample one of the scans"
        )
    begin = own.at(other.edge)  # in fine pixels
    rest = begin - round(begin)
    first = max(0, -(round(begin) // s))
    last = min(other.size, (own.size - round(begin)) // s)
    if last <= first:
        lows = [min(line.edge, line.edge + line.step * line.size) for line in (own, other)]
        highs = [max(line.edge, line.edge + line.step * line.size) for line in (own, other)]
        raise GridError(
            f"the scans do not overlap along {axis}: {lows[0]:.6g} to {highs[0]:.6g} and {lows[1]:.6g} to "
            f"{highs[1]:.6g}; give two scans of one place"
        )
    return s, first, last, round(begin) + first * s, 0.0 if abs(rest) < ROUNDING else rest


def _average_bands(da: xr.DataArray) -> np.ndarray:
    """Return the mean over all but the spatial dims, in the order z, y, x, NaN where any band is invalid."""
    dims = [*spatial_dims(da).values()]
    lead = [dim for dim in da.dims if dim not in dims]
    values = da.transpose(*lead, *dims).values.astype(np.float64)
    nodata = da.attrs.get("_FillValue")
    if nodata is not None:
        values = np.where(values == float(nodata), np.nan, values)
    return np.asarray(values.reshape(-1, *values.shape[len(lead) :]).mean(0))
