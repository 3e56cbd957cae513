"""`upscale`: an array with coordinates in, a finer one that lies exactly over it out."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

import dask.array
import numpy as np
import xarray as xr

from sr_imaging.errors import InputTypeError
from sr_imaging.image.grid.axes import AXES, check_grid
from sr_imaging.image.grid.overlay import check_overlay
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.pixels.repeated_bands import model_beside_repeated, repeated_bands
from sr_imaging.image.pixels.resampling import repeat_nearest
from sr_imaging.image.pixels.values import Values, values_of
from sr_imaging.image.stored_numbers import NODATA_KEYS, is_flag, nodata_of, normalise_numbers
from sr_imaging.models.model_file import read_card
from sr_imaging.networks import CLASSICAL, Generator

from .datasets import upscale_all
from .model_choice import Choice, choose
from .model_run import run_model
from .options import Progress, UpscaleOptions
from .provenance import Facts, with_provenance
from .request import Scale, Spacing
from .trained_range import check_trained_range

__all__ = ["super_resolve", "upscale"]

log = logging.getLogger(__name__)
Image = TypeVar("Image")
_STORED_AS = ("dtype", "rasterio_dtype", "scale_factor", "add_offset")


def upscale(
    obj: Image,
    model: str | os.PathLike[str] | Generator = "auto",
    *,
    scale: Scale = None,
    spacing: Spacing = None,
    device: str = "auto",
    precision: str = "auto",
    tile: int | tuple[int, ...] | None = None,
    max_memory: int | str | None = None,
    dtype: Any = None,
    strict: bool = False,
    seed: int = 0,
    guide: Any = None,
    progress: Progress | None = None,
) -> Image:
    """Super-resolve an image and keep its place in the world.

    The outer edges of the grid do not move, so the result overlays its source. Nothing is computed for a dask
    array. The input is never changed.

    Parameters
    ----------
    obj : DataArray, Dataset, DataTree, ndarray or dask array
        Any real numbers. Dims ``(band, y, x)``, ``(y, x)`` or ``(z, y, x)`` with any leading dims, under
        their usual names (``lat``, ``lon``, …). The last axes of a plain array are y, x, or z, y, x where
        the model or the scale has three. Of a Dataset or a DataTree the variables with all spatial dims go
        through the model, classes are repeated, and what else lies on a refined dim is interpolated linearly
        or, where it holds no numbers, repeated. Nodata (``_FillValue``), NaN, and pixels that a bool coord
        ``mask`` rules out never enter the model and come back exactly.
    model : str, path or Generator
        ``"auto"``, a bundled name (:func:`sr_imaging.list_models`), a classical method (``"cubic"``,
        ``"wiener"``, …), a model file, or any module that states the facts of
        :class:`sr_imaging.networks.Generator`.
    scale : number, tuple or mapping, optional
        Fine pixels per coarse pixel: of the axes that the model refines, in z, y, x order, or by dim. Whole
        numbers, but for interpolations and for models that do any factor in a range.
    spacing : number or mapping, optional
        Target spacing in the axes' unit, instead of `scale`; a number leaves finer axes as they are.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, … .
    precision : str
        ``float32``, ``bf16``, or ``auto``: float32 on CPU, bf16 on CUDA where the model loses less than
        0.02 dB.
    tile : int or tuple of int, optional
        LR pixels of a tile (HR ones of a model that does any factor); from the memory budget by default. The
        result does not depend on it.
    max_memory : int or str, optional
        Memory of one pass of the network, in bytes or like ``"2 GiB"``.
    dtype : dtype, optional
        Type of the result; that of the input by default.
    strict : bool
        Raise where the image lies outside what the model was trained for, instead of warning.
    seed : int
        Of the noise of a stochastic model: another seed gives another plausible result, the same seed the
        same result however it is tiled. The bundled models draw no noise.
    guide : DataArray, ndarray or dask array, optional
        Second image that a guided model takes: a panchromatic band, another contrast. It covers the result;
        where its pixels are finer or lie between those, their area means are taken. Its bands lie along
        ``band``; where it is invalid, so is the result.
    progress : callable, optional
        Called as ``progress(done, total)`` after each tile; raise :class:`sr_imaging.CancelledError` in it to
        stop. For a dask array it is called while the result is computed; on a cluster, after each block.

    Returns
    -------
    same type as `obj`
        Same dims, name, dtype and other coords, refined spatial coords, provenance in attrs.

    Raises
    ------
    GridError
        If a spatial coordinate is uneven, or the target spacing is not finer.
    InputTypeError
        If `obj` is not an array of real numbers.
    ModelError
        If no model fits, or the given one does not do what is asked.

    Examples
    --------
    >>> import numpy as np, xarray as xr, sr_imaging
    >>> lr = xr.DataArray(np.eye(3), dims=("y", "x"), coords={"y": [25.0, 15, 5], "x": [5.0, 15, 25]})
    >>> sr = sr_imaging.upscale(lr, "cubic", scale=2)
    >>> sr.y.values
    array([27.5, 22.5, 17.5, 12.5,  7.5,  2.5])
    """
    asked = UpscaleOptions(
        model,
        scale,
        spacing,
        device,
        precision,
        tile,
        max_memory,
        dtype=dtype,
        strict=strict,
        seed=seed,
        guide=guide,
    )
    return cast(Image, super_resolve(obj, asked, progress))


def super_resolve(obj: Any, asked: UpscaleOptions, progress: Progress | None = None) -> Any:
    """Return what `upscale` returns, for its options in one piece."""
    if isinstance(obj, xr.Dataset | xr.DataTree):
        return _super_resolve_variables(obj, asked, progress)
    image = _prepare_image(obj, asked)
    data, facts = _run_image(image, asked, progress)
    return _finish_image(image, data, facts)


def _super_resolve_variables(
    obj: xr.Dataset | xr.DataTree, asked: UpscaleOptions, progress: Progress | None
) -> xr.Dataset | xr.DataTree:
    """Return a dataset or a tree with each of its images super-resolved by one model."""

    def each(da: xr.DataArray, generator: Generator, share: Progress | None) -> xr.DataArray:
        is_classical = isinstance(asked.model, str) and asked.model in CLASSICAL
        own = asked if is_classical else replace(asked, model=generator)
        return cast(xr.DataArray, super_resolve(da, own, share))

    choose_for = partial(choose, model=asked.model, scale=asked.scale, spacing=asked.spacing)
    return upscale_all(obj, each, choose_for, progress)


@dataclass(frozen=True)
class _PreparedImage:
    """An image whose grid, values and model are settled, before anything is computed."""

    da: xr.DataArray  # under recognised dims
    values: Values
    choice: Choice
    holds_classes: bool
    is_bare: bool  # given without coordinates, and so returned


def _prepare_image(obj: Any, asked: UpscaleOptions) -> _PreparedImage:
    """Check an image, and choose its model."""
    if isinstance(obj, xr.DataArray):
        da = obj
    elif isinstance(obj, np.ndarray | dask.array.Array) and not isinstance(obj, np.ma.MaskedArray):
        da = _name_dims(obj, asked)
    else:
        kind = type(obj).__name__
        raise InputTypeError(f"cannot super-resolve a {kind}; give a DataArray, a Dataset or an array")
    holds_classes, da = is_flag(da), normalise_numbers(da)
    values = values_of(da, np.uint8 if holds_classes else asked.dtype)
    check_grid(da)
    choice = choose(da, asked.model, asked.scale, asked.spacing)
    if not holds_classes:
        check_trained_range(da, choice, asked.strict, stacklevel=5)  # the caller of upscale
    return _PreparedImage(da, values, choice, holds_classes, not isinstance(obj, xr.DataArray))


def _run_image(image: _PreparedImage, asked: UpscaleOptions, progress: Progress | None) -> tuple[Any, Facts]:
    """Return the finer stored values, and what made them; classes and alpha bands are repeated."""
    da, choice = image.da, image.choice
    if image.holds_classes:
        log.info("%s holds classes: repeated, not modelled", da.name or "the array")
        factors = {da.get_axis_num(dim): s for dim, s in choice.scale.items()}
        return repeat_nearest(da.data, factors), Facts("nearest", "", "exact", "cpu")

    def run(part: xr.DataArray) -> tuple[Any, Facts]:
        return run_model(part, image.values, choice, asked, progress)

    if repeated := repeated_bands(da):
        data, facts = model_beside_repeated(da, *repeated, scale=choice.scale, modelled=run)
        return data, cast(Facts, facts)
    return run(da)


def _finish_image(image: _PreparedImage, data: Any, facts: Facts) -> Any:
    """Put the result on its grid, where it has one, and say how it was made.

    Another type than that of the source is not stored as the old one.
    """
    if image.is_bare:
        return data
    da, choice = image.da, image.choice
    sr = refine(da, data, choice.scale)
    check_overlay(da, sr, choice.scale)
    if sr.dtype != da.dtype:
        sr.encoding = {key: value for key, value in sr.encoding.items() if key not in _STORED_AS}
        if not nodata_of(sr.attrs, sr.dtype):  # what the new type cannot hold marks nothing any more
            sr.attrs = {key: value for key, value in sr.attrs.items() if key not in NODATA_KEYS}
    return with_provenance(sr, choice.scale, facts)


def _name_dims(array: Any, asked: UpscaleOptions) -> xr.DataArray:
    """Return a plain array under the dims that its last axes have for the model."""
    axes = 2
    if isinstance(asked.scale, tuple | list):
        axes = len(asked.scale)
    elif "z" in _axes_of_model(asked.model) or (isinstance(asked.scale, Mapping) and "z" in asked.scale):
        axes = 3
    if asked.spacing is not None:
        raise InputTypeError("a plain array has no spacing; give a DataArray with coordinates, or a scale")
    if array.ndim < axes:
        raise InputTypeError(
            f"an array of shape {array.shape} has no {axes} spatial axes; give one with more"
        )
    lead = [f"dim_{k}" for k in range(array.ndim - axes)]
    return xr.DataArray(array, dims=[*lead, *AXES[-axes:]])


def _axes_of_model(model: Any) -> tuple[str, ...]:
    """Return the axes of a module, or of the model that a name or a path stands for."""
    if isinstance(model, str | os.PathLike):
        if model == "auto" or model in CLASSICAL:
            return ()
        return read_card(model).axes
    return tuple(getattr(model, "axes", ()))
