"""A model over one image: its values, mask, guide and noise in, stored values on the finer grid out."""

import logging
from math import ceil
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from sr_imaging.errors import ModelError
from sr_imaging.image.pixels.masks import hide_masked, mask_of, restore_masked
from sr_imaging.image.pixels.resampling import interpolate_stored, resample
from sr_imaging.image.pixels.values import Values
from sr_imaging.image.stored_numbers import band_entries
from sr_imaging.inference.tiling.blocks import Job, compute
from sr_imaging.inference.tiling.cluster import current_client
from sr_imaging.inference.tiling.companions import Work
from sr_imaging.inference.tiling.delivery import Delivery, sketch
from sr_imaging.inference.tiling.engine import Engine
from sr_imaging.models.card import ModelCard
from sr_imaging.networks import INTERPOLATIONS

from .guide_image import BAND_DIMS, guide_for
from .model_choice import Choice
from .options import EngineSettings, Progress, UpscaleOptions
from .provenance import Facts, model_sha256
from .trained_range import trained_values

__all__ = ["run_model"]

log = logging.getLogger(__name__)


def run_model(
    da: xr.DataArray, values: Values, choice: Choice, asked: UpscaleOptions, progress: Progress | None
) -> tuple[Any, Facts]:
    """Return the stored values that a model makes of an image, numpy or dask, and what made them."""
    sha256, settings = model_sha256(choice.generator), asked.engine_settings
    delivery = Delivery(choice.generator, sha256, settings)
    mask = mask_of(da)
    if mask is not None:
        data, during = hide_masked(da, mask, values)
    else:  # floats stay floats where resampling follows
        data, during = da.data, values.as_float() if choice.is_resampled else values
    if choice.interpolated:
        factors = {da.get_axis_num(dim): s for dim, s in choice.scale.items()}
        data, during = interpolate_stored(data, during, factors, choice.method)
    is_remote = isinstance(data, dask.array.Array) and current_client() is not None
    engine = sketch(delivery) if is_remote else delivery.engine
    spatial, channel = _find_axes(da, choice)
    guide, guide_values = guide_for(da, asked.guide, choice, channel)
    trained = trained_values(choice, asked.strict)
    work = Work(during, spatial, channel, asked.seed, guide_values, trained)
    data = compute(data, Job(engine, delivery, work, guide), progress)
    data = _resample_to_target(da, data, choice)
    if mask is None:
        data = _encode_floats(data, during, values)
    else:
        data = restore_masked(da, mask, data, choice.scale, values)
    ran: EngineSettings | Engine = settings if is_remote else engine
    seed = asked.seed if getattr(choice.generator, "latent_channels", 0) else None
    return data, Facts(choice.name, sha256, ran.precision, ran.device, _coarse_halo(engine, choice), seed)


def _coarse_halo(engine: Engine, choice: Choice) -> dict[Any, int] | None:
    """Return the coarse pixels beside its own that a result sees, by dim; None where it sees them all."""
    halo = engine.generator.halo
    if engine.needs_whole or halo is None:
        return None
    found = dict(zip(choice.dims, halo, strict=True))
    if not choice.interpolated:
        return found
    own = INTERPOLATIONS[choice.method][1]
    return {dim: ceil(h / choice.scale[dim]) + own * (choice.scale[dim] > 1) for dim, h in found.items()}


def _find_axes(da: xr.DataArray, choice: Choice) -> tuple[tuple[int, ...], int | None]:
    """Return the axes of the data that the model works on, and the axis of the bands it takes together."""
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


def _resample_to_target(da: xr.DataArray, data: Any, choice: Choice) -> Any:
    """Return the data at the target spacing, where the model's own factors do not reach it."""
    if not choice.is_resampled:
        return data
    both = {dim: (choice.model_scale.get(dim, 1), s) for dim, s in choice.scale.items()}
    log.info("resampling from %s by %s to the target spacing", choice.name, choice.method)
    return resample(data, {da.get_axis_num(dim): pair for dim, pair in both.items()}, choice.method)


def _encode_floats(data: Any, during: Values, values: Values) -> Any:
    """Return as stored values what was left in physical units."""
    if not during.physical:
        return data
    if isinstance(data, dask.array.Array):
        lazy: Any = data
        return lazy.map_blocks(values.encode, dtype=values.out_dtype)
    return values.encode(data)
