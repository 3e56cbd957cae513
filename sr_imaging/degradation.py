"""How a coarse scan arises from a fine one: point-spread function or slice profile, area mean, noise.

The kernels of this room are those of the training pairs (`sr_imaging.transforms`) as well, so a model is
trained, tested and judged on one and the same operator, on the grid of :func:`sr_imaging.geometry.refine`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from . import geometry
from .errors import GridError, InputTypeError
from .noise import NOISELESS, Noise, add_noise
from .psf import BOX, GAUSSIAN, Psf, margin, psf_kernel

__all__ = ["BOX", "GAUSSIAN", "NOISELESS", "Noise", "Psf", "degrade", "margin", "psf_kernel"]

_NODATA_ATTRS = ("_FillValue", "missing_value", "nodata")


def degrade(
    da: xr.DataArray,
    scale: float | Sequence[float] | Mapping[Any, float],
    *,
    psf: Psf | None = None,
    noise: Noise = NOISELESS,
    seed: int = 0,
    dtype: Any = None,
) -> xr.DataArray:
    """Return the coarser scan that a coarser instrument would have made of `da`.

    The array is cropped at the far end to whole blocks, its border is replicated, and the outer edges of
    what remains are those of the result. An LR pixel that sees any invalid HR pixel (nodata, NaN, infinite)
    through its point-spread function is invalid.

    Parameters
    ----------
    da : DataArray
        Fine scan, numpy or dask; not changed, and not computed if it is lazy.
    scale : number, sequence or mapping
        HR pixels per LR pixel, whole numbers >= 1: one for all spatial axes, one per spatial axis in the
        order z, y, x, or by dim (others keep their grid).
    psf : Psf, optional
        The same for every degraded axis. By default z has a box slice profile, y and x a Gaussian of
        0.4 LR pixels.
    noise : Noise
        Added after down-sampling; its sigma is in the unit of the values.
    seed : int
        Noise depends on the seed and the pixel's place, not on chunks.
    dtype : dtype, optional
        Type of the result; by default that of `da`, with integers rounded and clipped.

    Returns
    -------
    DataArray
        Same dims, name and attrs on the coarse grid; lazy where `da` is.

    Raises
    ------
    GridError
        If the grid is uneven, a factor is not whole, or an axis is shorter than its factor.
    InputTypeError
        If the values are not real numbers.

    Examples
    --------
    >>> fine = xr.DataArray([[0.0, 2.0], [4.0, 6.0]], dims=("y", "x"))
    >>> degrade(fine, 2, psf=BOX).item()
    3.0
    """
    if da.dtype.kind not in "iuf":
        raise InputTypeError(f"values of dtype {da.dtype} cannot be degraded; convert them to numbers first")
    factors = _factors(da, scale)
    da = da.isel({dim: slice(0, da.sizes[dim] // s * s) for dim, s in factors.items()})
    out_dtype = np.dtype(dtype or da.dtype)
    profiles = {dim: psf or _usual_psf(da, dim) for dim in factors}
    kernels = {da.dims.index(dim): (psf_kernel(profiles[dim], s), s) for dim, s in factors.items()}
    nodata = _nodata(da)
    to_nan = out_dtype.kind == "f" and da.dtype.kind != "f"  # integers turned float mark nodata by NaN
    job = _Job(kernels, nodata, np.nan if to_nan or nodata is None else nodata, noise, seed, out_dtype)
    coarse = geometry.refine(da, _apply(da.data, job), {dim: 1 / s for dim, s in factors.items()})
    if to_nan:
        coarse.attrs = {key: value for key, value in coarse.attrs.items() if key not in _NODATA_ATTRS}
    return coarse


@dataclass(frozen=True)
class _Job:
    """What is done to every block."""

    kernels: dict[int, tuple[np.ndarray, int]]  # by axis: weights and factor
    nodata: float | None
    fill: float  # what invalid LR pixels become
    noise: Noise
    seed: int
    dtype: np.dtype[Any]


def _factors(da: xr.DataArray, scale: float | Sequence[float] | Mapping[Any, float]) -> dict[Any, int]:
    """Whole factor of every degraded dim."""
    dims = geometry.spatial_dims(da)
    if not dims:
        raise GridError(f"dims {da.dims} have no spatial axis; name them y, x or z, y, x")
    if isinstance(scale, Mapping):
        chosen = {dims.get(key, key): value for key, value in scale.items()}
    else:
        values = [scale] * len(dims) if isinstance(scale, int | float) else list(scale)
        if len(values) != len(dims):
            raise GridError(f"scale {tuple(values)} has not one number for each of the axes {tuple(dims)}")
        chosen = dict(zip(dims.values(), values, strict=True))
    for dim, s in chosen.items():
        if dim not in dims.values():
            raise GridError(f"scale names {dim!r}, which is no spatial dim; choose from {[*dims.values()]}")
        if s < 1 or s != int(s):
            raise GridError(f"scale {s:g} of {dim!r} is not a whole number >= 1; degrade by whole factors")
        if da.sizes[dim] < s:
            raise GridError(
                f"dim {dim!r} has {da.sizes[dim]} pixels, fewer than the scale {s:g}; use a smaller factor"
            )
    return {dim: int(s) for dim, s in chosen.items() if s > 1}


def _usual_psf(da: xr.DataArray, dim: Any) -> Psf:
    """A slice profile along z, an optical point-spread function along y and x."""
    return BOX if geometry.spatial_dims(da).get("z") == dim else GAUSSIAN


def _nodata(da: xr.DataArray) -> float | None:
    """The stored value of invalid pixels, if the array states one."""
    for key in _NODATA_ATTRS:
        if da.attrs.get(key) is not None:
            return float(np.asarray(da.attrs[key]).item())
    return None


def _apply(data: Any, job: _Job) -> Any:
    """Degrade numpy at once, dask by blocks of whole multiples with the context that their border sees."""
    factors = {axis: s for axis, (_, s) in job.kernels.items()}
    depth = {axis: (len(kernel) - s) // 2 for axis, (kernel, s) in job.kernels.items()}
    coarse = [n // factors.get(axis, 1) for axis, n in enumerate(data.shape)]

    def block(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        start = [low for low, _ in block_info[None]["array-location"]] if block_info else [0] * values.ndim
        lr, bad = _degrade_block(values, job.kernels, job.nodata)
        return _finish(add_noise(lr, job.noise, job.seed, start, coarse), bad, job)

    if isinstance(data, np.ndarray):
        pads = [(depth.get(axis, 0),) * 2 for axis in range(data.ndim)]
        return block(np.pad(data, pads, mode="edge"))
    from dask.array.core import map_blocks
    from dask.array.overlap import overlap

    lazily: Any = overlap, map_blocks  # dask's functions carry no types
    chunks = tuple(
        _whole_chunks(sizes, factors.get(axis, 1), depth.get(axis, 0))
        for axis, sizes in enumerate(data.chunks)
    )
    padded = lazily[0](data.rechunk(chunks), depth=depth, boundary=dict.fromkeys(depth, "nearest"))
    out_chunks = tuple(tuple(n // factors.get(axis, 1) for n in sizes) for axis, sizes in enumerate(chunks))
    return lazily[1](block, padded, dtype=job.dtype, chunks=out_chunks, meta=np.empty(0, job.dtype))


def _whole_chunks(sizes: tuple[int, ...], scale: int, depth: int) -> tuple[int, ...]:
    """Chunks of whole multiples of the scale, none thinner than the context."""
    least = max(scale, depth)
    bounds, total = [0], sum(sizes)
    for edge in (np.cumsum(sizes) // scale * scale).tolist():
        if edge - bounds[-1] >= least and (total - edge >= least or edge == total):
            bounds.append(edge)
    if bounds[-1] != total:
        bounds = [*bounds[:-1], total] if len(bounds) > 1 else [0, total]
    return tuple(np.diff(bounds).tolist())


def _degrade_block(
    values: np.ndarray, kernels: dict[int, tuple[np.ndarray, int]], nodata: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Down-sample a block with its context; also return which LR pixels see an invalid one, if any."""
    bad: np.ndarray | None = ~np.isfinite(values) if values.dtype.kind == "f" else None
    if nodata is not None and np.isfinite(nodata):
        bad = (values == nodata) | (False if bad is None else bad)
    if bad is None or not bad.any():
        bad, lr = None, values.astype(np.float64)
    else:
        lr = np.where(bad, 0.0, values.astype(np.float64))
    for axis, (kernel, s) in kernels.items():
        lr = _strided(lr, kernel, s, axis)
        if bad is not None:
            bad = _strided(bad.astype(np.float64), np.ones_like(kernel), s, axis) > 0
    return lr, bad


def _strided(values: np.ndarray, kernel: np.ndarray, scale: int, axis: int) -> np.ndarray:
    """Correlate one axis with a kernel at every `scale`-th place, without padding."""
    values = np.moveaxis(values, axis, -1)
    size = (values.shape[-1] - len(kernel)) // scale + 1
    out = np.zeros((*values.shape[:-1], size))
    for tap, weight in enumerate(kernel):
        out += weight * values[..., tap : tap + scale * (size - 1) + 1 : scale]
    return np.moveaxis(out, -1, axis)


def _finish(lr: np.ndarray, bad: np.ndarray | None, job: _Job) -> np.ndarray:
    """Restore invalid pixels and the type; integers are rounded, clipped, and never become nodata."""
    if job.dtype.kind not in "iu":
        return np.asarray((lr if bad is None else np.where(bad, job.fill, lr)).astype(job.dtype))
    limits = np.iinfo(job.dtype)
    whole = np.clip(np.rint(lr), limits.min, limits.max)
    if job.nodata is None:
        return np.asarray(whole.astype(job.dtype))
    away = 1 if job.nodata < limits.max else -1
    whole = np.where(whole == job.nodata, whole + away, whole)
    return np.asarray((whole if bad is None else np.where(bad, job.nodata, whole)).astype(job.dtype))
