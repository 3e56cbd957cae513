"""The second image of a guided model: checked to lie on the grid of the result, in its layout."""

import logging
from collections.abc import Mapping
from itertools import product
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, InputTypeError, ModelError
from sr_imaging.image.grid.axes import AXES, check_grid, fine_size, spatial_dims
from sr_imaging.image.grid.frames import check_same_frame, mean_on_grid
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.reference import edges
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.grid.volumes import affine
from sr_imaging.image.pixels.masks import hide_masked, mask_of
from sr_imaging.image.pixels.packing import mask_nodata
from sr_imaging.image.pixels.values import Values, values_of
from sr_imaging.image.stored_numbers import normalise_numbers

from .model_choice import Choice

__all__ = ["BAND_DIMS", "guide_for"]

BAND_DIMS = ("band", "bands", "channel", "channels", "wavelength")
_TOLERANCE = 0.01  # pixels: transforms and coordinates come rounded
_OWN = "guide_band"

log = logging.getLogger(__name__)


def guide_for(da: xr.DataArray, guide: Any, choice: Choice, channel: int | None) -> tuple[Any, Values | None]:
    """Return the stored values of a guide in the layout of the image's data, and how they are stored.

    Both are None where the model takes no guide.

    `guide` has the spatial dims of `da`, on the grid that the model makes, or anywhere over it with pixels at
    most as large, whose area means are then taken, lazily; bands of its own along ``band`` or a dim that `da`
    lacks; any other dims as in `da`. `channel` is the axis of those bands of `da` that go together.

    Raises ModelError if there is a guide and the model takes none, or the other way round, or its bands are
    not as many as the model takes; GridError if it does not cover the result, is coarser, in another CRS or
    frame, or uneven; InputTypeError if it is not an array of real numbers.
    """
    bands = getattr(choice.generator, "guide_channels", 0)
    if guide is None:
        if bands:
            raise ModelError(
                f"{choice.name} takes a guide of {bands} bands on the grid of its result; give guide="
            )
        return None, None
    if not bands:
        raise ModelError(f"{choice.name} takes no guide; leave it out or choose a guided model")
    guide = normalise_numbers(_name_dims(guide, da))
    values = values_of(guide)
    check_grid(guide)
    guide = _bring_to_grid(da, guide, choice.scale if choice.interpolated else choice.model_scale)
    values = values_of(guide)
    data, mask = guide.data, mask_of(guide)
    if mask is not None:
        data, values = hide_masked(guide, mask, values)
    bare = xr.DataArray(data, dims=guide.dims)
    return _arrange_dims(bare, da, choice, channel), values


def _name_dims(guide: Any, da: xr.DataArray) -> xr.DataArray:
    """Return a plain guide of a plain image under the image's dims."""
    if isinstance(guide, xr.DataArray):
        return guide
    if not isinstance(guide, np.ndarray | dask.array.Array) or isinstance(guide, np.ma.MaskedArray):
        raise InputTypeError(f"a {type(guide).__name__} cannot be a guide; give a DataArray")
    axes = tuple(spatial_dims(da).values())
    if guide.ndim not in (len(axes), len(axes) + 1):
        raise InputTypeError(
            f"a guide of shape {guide.shape} has not the axes {axes}, or bands before them; give a DataArray"
        )
    return xr.DataArray(guide, dims=[*([_OWN] if guide.ndim > len(axes) else []), *axes])


def _bring_to_grid(da: xr.DataArray, guide: xr.DataArray, scale: Mapping[Any, float]) -> xr.DataArray:
    """Return the guide pixel by pixel on the refined grid of the image: as it is, or its area means."""
    ours, theirs = spatial_dims(da), spatial_dims(guide)
    if ours.keys() != theirs.keys():
        raise GridError(f"the guide has dims {guide.dims}, the image {da.dims}; give both the same axes")
    check_same_frame(da, guide, "image and guide", may_lack_crs=True)
    off = _find_offsets(da, guide)
    for axis, dim in ours.items():
        have, want = guide.sizes[theirs[axis]], fine_size(da.sizes[dim], scale.get(dim, 1))
        first, last = off.get(axis, (0.0, float(have - want)))
        if max(abs(first), abs(last)) > _TOLERANCE or have != want:
            where = (
                f"off the result's grid along {dim!r}: by {round(first, 3):+g} pixels at its first edge and "
                f"{round(last, 3):+g} at its last, {have} for {want} pixels"
            )
            placed = [{*dims.values()} <= {*one.coords} for one, dims in ((da, ours), (guide, theirs))]
            if not all(placed):
                raise GridError(f"the guide is {where}; resample it onto that grid")
            log.info("the guide is %s; its area means are taken, by its coordinates", where)
            return _take_means(da, guide, scale, where)
    return guide


def _take_means(
    da: xr.DataArray, guide: xr.DataArray, scale: Mapping[Any, float], where: str
) -> xr.DataArray:
    """Return area means of the guide on the refined grid of the image, as training takes them."""
    dims = spatial_dims(da).values()
    one = da.isel({dim: 0 for dim in da.dims if dim not in dims}, drop=True)
    sizes = [fine_size(n, scale.get(dim, 1)) for dim, n in one.sizes.items()]
    grid = refine(one, np.broadcast_to(np.float32(0), sizes), scale)
    mean, covered = mean_on_grid(mask_nodata(guide), grid)
    if covered.sizes != grid.sizes:
        raise GridError(f"the guide does not cover the result, {where}; crop the image to what both show")
    return mean.drop_attrs()


def _find_offsets(da: xr.DataArray, guide: xr.DataArray) -> dict[str, tuple[float, float]]:
    """Return by how many of its pixels the guide's first and last edges lie beyond the image's, by axis."""
    if "volume_ref" in da.coords:
        return _find_corner_offsets(affine(da), affine(guide), _find_sizes(da), _find_sizes(guide), AXES)
    off: dict[str, tuple[float, float]] = {}
    ours_to_world, theirs_to_world = _find_matrix(da), _find_matrix(guide)
    if ours_to_world is not None:
        if theirs_to_world is None:
            raise GridError(
                "the guide has no coordinates along y and x; give it those of the grid of the result"
            )
        sizes, fine = _find_sizes(da)[1:], _find_sizes(guide)[1:]
        off = _find_corner_offsets(ours_to_world, theirs_to_world, sizes, fine, AXES[1:])
    ours, theirs = spatial_dims(da), spatial_dims(guide)
    for axis in ours.keys() - off.keys():
        if ours[axis] in da.coords and theirs[axis] in guide.coords:
            (a, b), (c, d) = edges(da, ours[axis]), edges(guide, theirs[axis])
            step = (d - c) / guide.sizes[theirs[axis]]
            off[axis] = ((a - c) / step, (d - b) / step)
    return off


def _find_sizes(da: xr.DataArray) -> list[int]:
    """Return the pixels along z, y and x, 1 where the array has no such axis."""
    dims = spatial_dims(da)
    return [da.sizes[dims[axis]] if axis in dims else 1 for axis in AXES]


def _find_matrix(da: xr.DataArray) -> np.ndarray | None:
    """Return the (3, 3) matrix of index (y, x, 1) at pixel centres to world (x, y, 1), None if not stated."""
    numbers = geo_transform(da)
    if numbers is None:
        return None
    x0, a, b, y0, d, e = numbers
    return np.array([[b, a, x0 + (a + b) / 2], [e, d, y0 + (d + e) / 2], [0, 0, 1]])


def _find_corner_offsets(
    ours: np.ndarray, theirs: np.ndarray, sizes: list[int], fine: list[int], axes: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Return the largest distance of the guide's faces from the image's over all corners, in guide pixels."""
    to_guide = np.linalg.inv(theirs) @ ours
    off = {axis: [0.0, 0.0] for axis in axes}
    for corner in product((0, 1), repeat=len(axes)):
        index = [n * bit - 0.5 for n, bit in zip(sizes, corner, strict=True)]
        seen = to_guide @ [*index, 1.0]
        for k, (axis, bit) in enumerate(zip(axes, corner, strict=True)):
            beyond = float(fine[k] - 0.5 - seen[k] if bit else seen[k] + 0.5)
            off[axis][bit] = max(off[axis][bit], beyond, key=abs)
    return {axis: (first, last) for axis, (first, last) in off.items()}


def _arrange_dims(guide: xr.DataArray, da: xr.DataArray, choice: Choice, channel: int | None) -> Any:
    """Return the guide's data with the dims of the image, its bands in place of the image's or at the end."""
    ours, theirs = spatial_dims(da), spatial_dims(guide)
    bands = getattr(choice.generator, "guide_channels", 0)
    have = ", ".join(f"{dim}={n}" for dim, n in guide.sizes.items())
    others = [dim for dim in guide.dims if dim not in theirs.values()]
    own: list[Any] = [dim for dim in others if dim in BAND_DIMS] or [
        dim for dim in others if dim not in da.dims
    ]
    if len(own) > 1 or (guide.sizes[own[0]] if own else 1) != bands:
        raise ModelError(f"{choice.name} takes a guide of {bands} bands, this one has {have}; select them")
    names = {theirs[axis]: dim for axis, dim in ours.items()} | dict.fromkeys(own, _OWN)
    renamed = guide.rename(names)
    order = [_OWN if k == channel else dim for k, dim in enumerate(da.dims)]
    order += [_OWN] if channel is None else []
    lengths = {**da.sizes, _OWN: bands}
    for dim in others:
        if dim not in own and (dim not in order or guide.sizes[dim] != da.sizes[dim]):
            raise ModelError(f"dim {dim!r} of the guide ({have}) is not that of the image; select one of it")
    missing = {dim: lengths[dim] for dim in order if dim not in renamed.dims}
    return renamed.expand_dims(missing).transpose(*order).data
