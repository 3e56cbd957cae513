"""How a coarse scan arises from a fine one: point-spread function or slice profile, area mean, noise.

Its kernels are those of the training pairs too, so a model is trained and judged on one and the same
operator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, InputTypeError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.stored_numbers import NODATA_KEYS, nodata_of, normalise_numbers

from .noise import NOISELESS, Noise, add_noise
from .psf import BOX, GAUSSIAN, Psf, psf_kernel, psf_taps

__all__ = ["degrade"]


def degrade(
    da: xr.DataArray,
    scale: float | Sequence[float] | Mapping[Any, float],
    *,
    psf: Psf | Mapping[Any, Psf] | None = None,
    noise: Noise = NOISELESS,
    seed: int = 0,
    dtype: Any = None,
) -> xr.DataArray:
    """Return the coarser scan that a coarser instrument would have made of `da`.

    The array is cropped at the far end to whole LR pixels, its border is replicated, and the outer edges of
    what remains are those of the result; with a factor that is not whole, the first edge, and the last to
    half an HR pixel. An LR pixel that sees any invalid HR pixel (nodata, NaN, infinite) through its
    point-spread function is invalid.

    Parameters
    ----------
    da : DataArray
        Fine scan, numpy or dask; not changed, and not computed if it is lazy.
    scale : number, sequence or mapping
        HR pixels per LR pixel, >= 1: one for all spatial axes, one per spatial axis in the order z, y, x, or
        by dim (others keep their grid). A lazy axis whose factor is not whole becomes one chunk.
    psf : Psf or mapping, optional
        The same for every degraded axis, or by axis or dim. Where none is given, z has a box slice profile,
        y and x a Gaussian of 0.4 LR pixels.
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
        If the grid is uneven, a factor is below 1, an axis is shorter than its factor, or `psf` names an axis
        that the array does not have.
    InputTypeError
        If the values are not real numbers.

    Examples
    --------
    >>> fine = xr.DataArray([[0.0, 2.0], [4.0, 6.0]], dims=("y", "x"))
    >>> degrade(fine, 2, psf=BOX).item()
    3.0
    """
    if da.dtype.kind not in "iuf":
        raise InputTypeError(f"values of dtype {da.dtype} cannot be degraded; convert them to real numbers")
    da = normalise_numbers(da)
    factors = _read_factors(da, scale)
    sizes = {dim: int(da.sizes[dim] / s + 1e-9) for dim, s in factors.items()}  # LR pixels that lie within
    da = da.isel({dim: slice(0, round(sizes[dim] * s)) for dim, s in factors.items()})
    out_dtype = np.dtype(dtype or da.dtype)
    profiles = _choose_profiles(da, psf)
    axes = {da.dims.index(dim): _CoarseAxis.of(profiles[dim], s, sizes[dim]) for dim, s in factors.items()}
    nodata = next(iter(nodata_of(da.attrs, da.dtype)), None)
    to_nan = out_dtype.kind == "f" and da.dtype.kind != "f"  # integers turned float mark nodata by NaN
    job = _BlockJob(axes, nodata, np.nan if to_nan or nodata is None else nodata, noise, seed, out_dtype)
    coarse = refine(da, _degrade_data(da.data, job), {dim: 1 / s for dim, s in factors.items()})
    if to_nan:
        coarse.attrs = {key: value for key, value in coarse.attrs.items() if key not in NODATA_KEYS}
    return coarse


@dataclass(frozen=True)
class _CoarseAxis:
    """How one axis becomes coarse: by a kernel at every whole step, or by taps of each LR pixel's own."""

    size: int  # LR pixels
    step: int = 1
    kernel: np.ndarray | None = None
    taps: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, psf: Psf, scale: float, size: int) -> "_CoarseAxis":
        """Choose by whether the factor is whole."""
        if scale == int(scale):
            return cls(size, int(scale), psf_kernel(psf, int(scale)))
        index, weights = psf_taps(psf, scale, (np.arange(size) + 0.5) * scale - 0.5)
        return cls(size, taps=(np.clip(index, 0, round(size * scale) - 1), weights))

    @property
    def depth(self) -> int:
        """Number of HR pixels that a kernel sees beyond its block."""
        return 0 if self.kernel is None else (len(self.kernel) - self.step) // 2

    def seen(self) -> "_CoarseAxis":
        """Return the axis with a weight of one for every pixel that counts at all."""
        if self.taps is None:
            return replace(self, kernel=np.ones_like(self.kernel))
        return replace(self, taps=(self.taps[0], (self.taps[1] != 0).astype(np.float64)))


@dataclass(frozen=True)
class _BlockJob:
    """How every block is degraded."""

    axes: dict[int, _CoarseAxis]
    nodata: float | None
    fill: float  # what invalid LR pixels become
    noise: Noise
    seed: int
    dtype: np.dtype[Any]


def _read_factors(da: xr.DataArray, scale: float | Sequence[float] | Mapping[Any, float]) -> dict[Any, float]:
    """Return the factor of every degraded dim."""
    dims = spatial_dims(da)
    if not dims:
        raise GridError(f"dims {da.dims} have no spatial axis; name them y, x or z, y, x")
    if isinstance(scale, Mapping):
        chosen = {dims.get(key, key): value for key, value in scale.items()}
    else:
        values = [scale] * len(dims) if isinstance(scale, int | float) else list(scale)
        if len(values) != len(dims):
            raise GridError(
                f"scale {tuple(values)} does not fit the axes {tuple(dims)}; give one number for each"
            )
        chosen = dict(zip(dims.values(), values, strict=True))
    for dim, s in chosen.items():
        if dim not in dims.values():
            raise GridError(f"scale names {dim!r}, not a spatial dim; choose from {[*dims.values()]}")
        if not 1 <= s < np.inf:
            raise GridError(f"scale {s:g} of {dim!r} is not a number >= 1; give HR pixels per LR pixel")
        if da.sizes[dim] < s:
            raise GridError(
                f"dim {dim!r} has {da.sizes[dim]} pixels, fewer than the scale {s:g}; use a smaller factor"
            )
    return {dim: float(s) for dim, s in chosen.items() if s > 1}


def _choose_profiles(da: xr.DataArray, psf: Psf | Mapping[Any, Psf] | None) -> dict[Any, Psf]:
    """Return the point-spread function of every dim: by default a slice along z, optics along y and x."""
    dims = spatial_dims(da)
    if isinstance(psf, Psf):
        return dict.fromkeys(dims.values(), psf)
    chosen = {dims.get(key, key): value for key, value in (psf or {}).items()}
    if strange := set(chosen) - set(dims.values()):
        raise GridError(f"psf names {strange.pop()!r}, not a spatial dim; choose from {[*dims]}")
    return {dim: BOX if axis == "z" else GAUSSIAN for axis, dim in dims.items()} | chosen


def _degrade_data(data: Any, job: _BlockJob) -> Any:
    """Degrade numpy at once, dask by blocks of whole multiples with the context that their border sees."""
    steps = {axis: one.step for axis, one in job.axes.items()}
    depth = {axis: one.depth for axis, one in job.axes.items()}
    coarse = [job.axes[axis].size if axis in job.axes else n for axis, n in enumerate(data.shape)]

    def block(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        start = [low for low, _ in block_info[None]["array-location"]] if block_info else [0] * values.ndim
        lr, bad = _degrade_block(values, job)
        return _restore_type(add_noise(lr, job.noise, job.seed, start, coarse), bad, job)

    if isinstance(data, np.ndarray):
        pads = [(depth.get(axis, 0),) * 2 for axis in range(data.ndim)]
        return block(np.pad(data, pads, mode="edge"))
    from dask.array.core import map_blocks
    from dask.array.overlap import overlap

    lazily: Any = overlap, map_blocks  # dask's functions carry no types
    tapped = {axis for axis, one in job.axes.items() if one.taps is not None}
    chunks = tuple(
        (sum(sizes),) if axis in tapped else _align_chunks(sizes, steps.get(axis, 1), depth.get(axis, 0))
        for axis, sizes in enumerate(data.chunks)
    )
    padded = lazily[0](data.rechunk(chunks), depth=depth, boundary=dict.fromkeys(depth, "nearest"))
    out_chunks = tuple(
        (coarse[axis],) if axis in tapped else tuple(n // steps.get(axis, 1) for n in sizes)
        for axis, sizes in enumerate(chunks)
    )
    return lazily[1](block, padded, dtype=job.dtype, chunks=out_chunks, meta=np.empty(0, job.dtype))


def _align_chunks(sizes: tuple[int, ...], scale: int, depth: int) -> tuple[int, ...]:
    """Return chunks of whole multiples of the scale, none thinner than the context."""
    least = max(scale, depth)
    bounds, total = [0], sum(sizes)
    for edge in (np.cumsum(sizes) // scale * scale).tolist():
        if edge - bounds[-1] >= least and (total - edge >= least or edge == total):
            bounds.append(edge)
    if bounds[-1] != total:
        bounds = [*bounds[:-1], total] if len(bounds) > 1 else [0, total]
    return tuple(np.diff(bounds).tolist())


def _degrade_block(values: np.ndarray, job: _BlockJob) -> tuple[np.ndarray, np.ndarray | None]:
    """Down-sample a block with its context; also return which LR pixels see an invalid one, if any."""
    nodata = job.nodata
    bad: np.ndarray | None = ~np.isfinite(values) if values.dtype.kind == "f" else None
    if nodata is not None and np.isfinite(nodata):
        bad = (values == nodata) | (False if bad is None else bad)
    if bad is None or not bad.any():
        bad, lr = None, values.astype(np.float64)
    else:
        lr = np.where(bad, 0.0, values.astype(np.float64))
    for axis, one in job.axes.items():
        lr = _coarsen_axis(lr, one, axis)
        if bad is not None:
            bad = _coarsen_axis(bad.astype(np.float64), one.seen(), axis) > 0
    return lr, bad


def _coarsen_axis(values: np.ndarray, one: _CoarseAxis, axis: int) -> np.ndarray:
    """Weigh the HR pixels of one axis: at every whole step without padding, or tap by tap."""
    values = np.moveaxis(values, axis, -1)
    if one.taps is not None:
        picked = zip(one.taps[0].T, one.taps[1].T, strict=True)
        terms = (values[..., index] * weight for index, weight in picked)
        size = len(one.taps[0])
    else:
        kernel = np.ones(1) if one.kernel is None else one.kernel
        size = (values.shape[-1] - len(kernel)) // one.step + 1
        last = one.step * (size - 1) + 1
        terms = (weight * values[..., tap : tap + last : one.step] for tap, weight in enumerate(kernel))
    out = np.zeros((*values.shape[:-1], size))
    for term in terms:
        out += term
    return np.moveaxis(out, -1, axis)


def _restore_type(lr: np.ndarray, bad: np.ndarray | None, job: _BlockJob) -> np.ndarray:
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
