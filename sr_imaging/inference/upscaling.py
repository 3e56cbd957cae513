"""`upscale`: an array with coordinates in, a finer one that lies exactly over it out."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any, TypeVar, cast

import dask.array
import numpy as np
import xarray as xr
from dask.utils import parse_bytes

from sr_imaging.errors import ConfigError, InputTypeError, ModelError
from sr_imaging.image.grid.axes import check_grid
from sr_imaging.image.grid.overlay import check_overlay
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.pixels.masks import hide_masked, mask_of, restore_masked
from sr_imaging.image.pixels.repeated_bands import model_beside_repeated, repeated_bands
from sr_imaging.image.pixels.resampling import interpolate_stored, repeat_nearest, resample
from sr_imaging.image.pixels.values import Values, values_of
from sr_imaging.image.stored_numbers import NODATA_KEYS, band_entries, is_flag, nodata_of, normalise_numbers
from sr_imaging.inference.tiling.blocks import Job, compute
from sr_imaging.inference.tiling.cluster import current_client
from sr_imaging.inference.tiling.delivery import Delivery, Settings, sketch
from sr_imaging.inference.tiling.engine import Engine
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import read_card
from sr_imaging.networks import CLASSICAL, INTERPOLATIONS, Generator

from .datasets import upscale_all
from .guide_image import BAND_DIMS, guide_for
from .model_choice import Choice, choose
from .provenance import Facts, model_sha256, with_provenance
from .request import Scale, Spacing
from .trained_range import check_trained_range, trained_values

__all__ = ["upscale"]

log = logging.getLogger(__name__)
Image = TypeVar("Image")
Progress = Callable[[int, int], None]
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
        Of the noise of a stochastic model: another seed gives another plausible result, the same one the same
        result however it is tiled. The bundled models have none.
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
        If `obj` is no array of real numbers.
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
    if isinstance(obj, xr.Dataset | xr.DataTree):

        def each(da: xr.DataArray, generator: Generator, told: Progress | None) -> xr.DataArray:
            return upscale(
                da,
                model if isinstance(model, str) and model in CLASSICAL else generator,
                scale=scale,
                spacing=spacing,
                device=device,
                precision=precision,
                tile=tile,
                max_memory=max_memory,
                dtype=dtype,
                strict=strict,
                seed=seed,
                guide=guide,
                progress=told,
            )

        choice_of = partial(choose, model=model, scale=scale, spacing=spacing)
        return cast(Image, upscale_all(obj, each, choice_of, progress))
    if isinstance(obj, xr.DataArray):
        da: xr.DataArray = obj
    elif isinstance(obj, np.ndarray | dask.array.Array) and not isinstance(obj, np.ma.MaskedArray):
        da = _named(obj, model, scale, spacing)
    else:
        kind = type(obj).__name__
        raise InputTypeError(f"cannot super-resolve a {kind}; give a DataArray, a Dataset or an array")
    flag, da = is_flag(da), normalise_numbers(da)
    values = values_of(da, np.uint8 if flag else dtype)
    check_grid(da)
    choice = choose(da, model, scale, spacing)
    if flag:
        log.info("%s holds classes: repeated, not modelled", da.name or "the array")
        factors = {da.get_axis_num(dim): s for dim, s in choice.scale.items()}
        data, facts = repeat_nearest(da.data, factors), Facts("nearest", "", "exact", "cpu")
    else:
        check_trained_range(da, choice, strict)
        values = replace(values, trained=trained_values(choice), strict=strict)
        settings = Settings(device, precision, tile, _memory(max_memory))

        def modelled(image: xr.DataArray) -> tuple[Any, Facts]:
            return _modelled(image, values, choice, settings, progress, seed=seed, guide=guide)

        if kept := repeated_bands(da):
            data, facts = model_beside_repeated(da, *kept, scale=choice.scale, modelled=modelled)
        else:
            data, facts = modelled(da)
    if not isinstance(obj, xr.DataArray):
        return cast(Image, data)
    return cast(Image, with_provenance(_place(da, data, choice), choice.scale, facts))


def _modelled(
    da: xr.DataArray,
    values: Values,
    choice: Choice,
    settings: Settings,
    progress: Progress | None,
    *,
    seed: int,
    guide: Any,
) -> tuple[Any, Facts]:
    """Values that the model makes of an image, and what made them."""
    sha256 = model_sha256(choice.generator)
    delivery = Delivery(choice.generator, sha256, settings)
    mask = mask_of(da)
    seen, during = (da.data, _during(values, choice)) if mask is None else hide_masked(da, mask, values)
    if choice.interpolated:
        factors = {da.get_axis_num(dim): s for dim, s in choice.scale.items()}
        seen, during = interpolate_stored(seen, during, factors, choice.method)
    remote = isinstance(seen, dask.array.Array) and current_client() is not None
    engine = sketch(delivery) if remote else delivery.engine
    spatial, channel = _axes(da, choice)
    second = guide_for(da, guide, choice, channel)
    job = Job(engine, delivery, during, spatial, channel, seed, second)
    data = _resampled(da, compute(seen, job, progress), choice)
    data = (
        _stored(data, during, values)
        if mask is None
        else restore_masked(da, mask, data, choice.scale, values)
    )
    ran: Settings | Engine = settings if remote else engine
    drawn = seed if getattr(choice.generator, "latent_channels", 0) else None
    return data, Facts(choice.name, sha256, ran.precision, ran.device, _seen_by(engine, choice), drawn)


def _seen_by(engine: Engine, choice: Choice) -> dict[Any, int] | None:
    """Coarse pixels beside its own that a result sees, by dim; None where it sees them all."""
    halo = engine.generator.halo
    if engine.needs_whole or halo is None:
        return None
    found = dict(zip(choice.dims, halo, strict=True))
    if not choice.interpolated:
        return found
    own = INTERPOLATIONS[choice.method][1]
    return {dim: ceil(h / choice.scale[dim]) + own * (choice.scale[dim] > 1) for dim, h in found.items()}


def _place(da: xr.DataArray, data: Any, choice: Choice) -> xr.DataArray:
    """Put the result on its grid; another type than that of the array is not stored as the old one."""
    sr = refine(da, data, choice.scale)
    check_overlay(da, sr, choice.scale)
    if sr.dtype != da.dtype:
        sr.encoding = {key: value for key, value in sr.encoding.items() if key not in _STORED_AS}
        if not nodata_of(sr.attrs, sr.dtype):  # what the new type cannot hold marks nothing any more
            sr.attrs = {key: value for key, value in sr.attrs.items() if key not in NODATA_KEYS}
    return sr


def _memory(max_memory: int | str | None) -> int | None:
    """Bytes of an amount of memory."""
    if max_memory is None:
        return None
    try:
        amount = int(parse_bytes(max_memory))
    except (ValueError, TypeError):
        amount = -1
    if amount < 0:
        raise ConfigError(f"max_memory {max_memory!r} is no amount of memory; give bytes or '2 GiB'")
    return amount


def _named(array: Any, model: Any, scale: Scale, spacing: Spacing) -> xr.DataArray:
    """Give a plain array the dims that its last axes have for the model."""
    axes = 2
    if isinstance(scale, tuple | list):
        axes = len(scale)
    elif "z" in _model_axes(model) or (isinstance(scale, Mapping) and "z" in scale):
        axes = 3
    if spacing is not None:
        raise InputTypeError("a plain array has no spacing; give a DataArray with coordinates, or a scale")
    if array.ndim < axes:
        raise InputTypeError(
            f"an array of shape {array.shape} has no {axes} spatial axes; give one with more"
        )
    lead = [f"dim_{k}" for k in range(array.ndim - axes)]
    return xr.DataArray(array, dims=[*lead, *("z", "y", "x")[-axes:]])


def _model_axes(model: Any) -> tuple[str, ...]:
    """Axes of a module, or of the model that a name or path stands for."""
    if isinstance(model, str | os.PathLike):
        if model == "auto" or model in CLASSICAL:
            return ()
        return read_card(model).axes
    return tuple(getattr(model, "axes", ()))


def _axes(da: xr.DataArray, choice: Choice) -> tuple[tuple[int, ...], int | None]:
    """Axes of the data that the generator works on, and the axis of the bands it takes together."""
    spatial = tuple(da.get_axis_num(dim) for dim in choice.dims)
    bands = choice.generator.in_channels
    if bands == 1:
        return spatial, None
    others = [dim for dim in da.dims if dim not in choice.dims]
    named = [dim for dim in others if dim in BAND_DIMS] or others[-1:]
    if not named or da.sizes[named[0]] != bands:
        have = ", ".join(f"{dim}={n}" for dim, n in da.sizes.items())
        raise ModelError(f"{choice.name} takes {bands} bands together, but the array has {have}; select them")
    _check_band_names(da, named[0], choice)
    return spatial, da.get_axis_num(named[0])


def _check_band_names(da: xr.DataArray, dim: Any, choice: Choice) -> None:
    """Raise where both the model and the array name their bands, and not alike."""
    card: ModelCard | None = getattr(choice.generator, "card", None)
    names = da.attrs.get("long_name")
    if dim in da.coords and da.coords[dim].dtype.kind in "UOT":
        names = da.coords[dim].values
    if card is None or not card.bands or not isinstance(names, tuple | list | np.ndarray):
        return
    names = band_entries(names, da, dim) or list(names)
    if [str(name) for name in names] != list(card.bands):
        want, have = ", ".join(card.bands), ", ".join(map(str, names))
        raise ModelError(
            f"{choice.name} takes the bands {want}, but the array has {have}; select them in that order"
        )


def _is_resampled(choice: Choice) -> bool:
    """Whether a target spacing asks for more than the model's own factors."""
    return not choice.interpolated and any(
        choice.model_scale.get(dim, 1) != s for dim, s in choice.scale.items()
    )


def _during(values: Values, choice: Choice) -> Values:
    """Values as the tiler leaves them: floats where resampling follows."""
    return values.as_float() if _is_resampled(choice) else values


def _resampled(da: xr.DataArray, data: Any, choice: Choice) -> Any:
    """Resample to the target spacing where the model's own factors do not reach it."""
    if not _is_resampled(choice):
        return data
    both = {dim: (choice.model_scale.get(dim, 1), s) for dim, s in choice.scale.items()}
    log.info("resampling from %s by %s to the target spacing", choice.name, choice.method)
    return resample(data, {da.get_axis_num(dim): pair for dim, pair in both.items()}, choice.method)


def _stored(data: Any, during: Values, values: Values) -> Any:
    """Store what was left in physical units."""
    if not during.physical:
        return data
    if isinstance(data, dask.array.Array):
        lazy: Any = data
        return lazy.map_blocks(values.encode, dtype=values.out_dtype)
    return values.encode(data)
