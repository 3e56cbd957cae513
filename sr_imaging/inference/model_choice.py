"""Which model super-resolves an array, and by how much along each dim."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import xarray as xr

from sr_imaging.errors import GridError, ModelError
from sr_imaging.image.grid.axes import AXES, spatial_dims
from sr_imaging.image.grid.pixel_spacing import has_thick_slices
from sr_imaging.image.grid.pixel_spacing import spacing as grid_spacing
from sr_imaging.models.model_file import ZOO, load_model
from sr_imaging.networks import CLASSICAL, INTERPOLATIONS, PLANE_AXES, Generator, check_generator

from .request import SAME_FACTOR, Request, Scale, Spacing, dims_of_axes, factors_of_scale, factors_of_spacing

__all__ = ["Choice", "choose"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A model and what it does to the dims of one array."""

    generator: Generator
    name: str  # in provenance
    method: str  # interpolation that reaches a target spacing after the model, or the grid before it
    dims: tuple[Any, ...]  # that the model works on, in the order of its axes
    model_scale: dict[Any, int]  # fine pixels per coarse pixel that the model makes, by dim
    # fine pixels per coarse pixel of the result, by dim: others than the model's where a target spacing asks
    # for them, or where the model does any factor
    scale: dict[Any, float]
    interpolated: bool = False  # the model does any factor: it works on the image interpolated to that grid

    @property
    def is_resampled(self) -> bool:
        """Whether a target spacing asks for more than the model's own factors."""
        return not self.interpolated and any(
            self.model_scale.get(dim, 1) != s for dim, s in self.scale.items()
        )


def choose(da: xr.DataArray, model: Any, scale: Scale, spacing: Spacing) -> Choice:
    """Choose the model, and its factor along each dim.

    Raises ModelError if there is no such model or it does not do what is asked, and GridError if the array
    lacks the axes or the spacing, or is as fine already.
    """
    if scale is not None and spacing is not None:
        raise ModelError("both scale and spacing were given; ask for one of them")
    dims = spatial_dims(da)
    if "y" not in dims or "x" not in dims:
        raise GridError(f"dims {da.dims} have no y and x axes; rename the spatial dims to z, y, x")
    if spacing is None:
        request = factors_of_scale(dims, scale)
    else:
        request = Request(dims, factors=factors_of_spacing(grid_spacing(da), dims, spacing), exact=True)
    if isinstance(model, str) and model in CLASSICAL:
        return _choose_classical(model, request)
    return _choose_fixed(*_load_generator(da, model, request), request)


def _choose_classical(name: str, request: Request) -> Choice:
    """Return the choice of a classical method, for whole factors; an interpolation resamples to others."""
    if request.number is None and request.factors is None:
        raise ModelError(f"the method {name!r} has no scale of its own; give scale=2 or the like")
    order = tuple(request.dims.values())
    default = request.number or 1.0
    wanted = {dim: default if request.factors is None else request.factors.get(dim, 1.0) for dim in order}
    if name in INTERPOLATIONS:
        model_scale = {dim: int(s) if s == int(s) else 1 for dim, s in wanted.items()}
    elif request.exact:
        model_scale = {dim: ceil(s) for dim, s in wanted.items()}
    elif all(s == int(s) for s in wanted.values()):
        model_scale = {dim: int(s) for dim, s in wanted.items()}
    else:
        raise ModelError(
            f"{name} refines by whole factors, not {request}; ask for those, or for a target spacing"
        )
    generator: Any = load_model(name, scale=tuple(model_scale.values()))
    method = name if name in INTERPOLATIONS else "cubic"
    return Choice(generator, name, method, order, model_scale, wanted)


def _load_generator(da: xr.DataArray, model: Any, request: Request) -> tuple[Generator, str]:
    """Return the module to run and its name."""
    if isinstance(model, str | os.PathLike):
        loaded: Any = _load_auto(_name_auto(da, request)) if model == "auto" else load_model(model)
        return loaded, loaded.card.name
    check_generator(model)
    card = getattr(model, "card", None)
    return model, card.name if card is not None else type(model).__name__


def _load_auto(name: str) -> Any:
    """Return a bundled model, loaded once for many scans; it is frozen, and run as a copy."""
    log.info("model 'auto' is %s", name)
    path = ZOO / f"{name}.safetensors"
    return _load_once(path, path.stat().st_mtime_ns) if path.is_file() else load_model(name)


@lru_cache(maxsize=8)
def _load_once(path: Path, mtime_ns: int) -> Any:
    return load_model(path)


def _name_auto(da: xr.DataArray, request: Request) -> str:
    """Return the name of the bundled model for an array; a ModelError says what was looked at."""
    if "z" not in request.dims:
        asked = {2.0 if request.number is None else request.number}
        if request.factors is not None:
            asked = {2.0} if request.exact else set(request.factors.values())
        name = f"raster-x{max(asked):g}"
        if len(asked) == 1 and (ZOO / f"{name}.safetensors").is_file():
            return name
        raise _explain_no_model(f"a raster {da.dims}", request)
    modality = da.coords["volume_ref"].attrs.get("modality") if "volume_ref" in da.coords else None
    if _refines_z(da, request):
        return "ct-through-x4" if modality == "CT" else "mr-through-x4"
    have = ", ".join(f"{dim} {value:g}" for dim, value in grid_spacing(da).items())
    raise _explain_no_model(f"a volume of spacing {have or 'unknown'}", request)


def _refines_z(da: xr.DataArray, request: Request) -> bool:
    """Return whether the volume has thick slices, or z alone is to be refined."""
    dims = request.dims
    if request.factors is not None:
        refined = [dim for dim, factor in request.factors.items() if factor > 1]
        return refined == [dims["z"]]
    have = grid_spacing(da)
    known = all(dim in have for dim in dims.values())
    return known and has_thick_slices(*(have[dims[axis]] for axis in AXES))


def _explain_no_model(what: str, request: Request) -> ModelError:
    """Return the error that says what no bundled model does, and what there is."""
    asked = "no scale given" if request.number is None and request.factors is None else f"scale {request}"
    names = ", ".join(path.stem for path in sorted(ZOO.glob("*.safetensors"))) or "none"
    return ModelError(
        f"no bundled model for {what} and {asked}; there are {names}, any model file, and model='cubic'"
    )


def _choose_fixed(generator: Generator, name: str, request: Request) -> Choice:
    """Return the choice of a generator, whose axes and scale must match the dims and what was asked."""
    dims = request.dims
    through = generator.axes == PLANE_AXES
    numbers = (generator.scale[0], 1, 1) if through else generator.scale
    order = dims_of_axes(name, generator.axes, dims)
    own = {dim: int(s) for dim, s in zip(order, numbers, strict=True)}
    if (spans := getattr(generator, "scale_range", None)) is not None:
        spans = (spans[0], (1.0, 1.0), (1.0, 1.0)) if through else spans
        return _choose_any_factor(generator, name, request, dict(zip(order, spans, strict=True)))
    made = {dim: float(own.get(dim, 1)) for dim in dims.values()}
    if request.exact and request.factors is not None:
        wanted = {dim: request.factors.get(dim, 1.0) for dim in dims.values()}
        return Choice(generator, name, "cubic", order, own, wanted)
    differs = request.number is not None and any(s not in (1, request.number) for s in own.values())
    if request.factors is not None:
        differs = any(request.factors.get(dim, 1.0) != factor for dim, factor in made.items())
    if differs:
        can = ", ".join(f"{dim} by {s}" for dim, s in own.items())
        raise ModelError(f"{name} refines {can}, not {request}; ask for that, or for a target spacing")
    return Choice(generator, name, "cubic", order, own, made)


def _choose_any_factor(
    generator: Generator, name: str, request: Request, spans: Mapping[Any, tuple[float, float]]
) -> Choice:
    """Return the choice of a model that does any factor, if what was asked is in its range."""
    can = ", ".join(f"{dim} by {low:g} to {high:g}" for dim, (low, high) in spans.items() if high > 1)
    if request.number is None and request.factors is None:
        raise ModelError(f"{name} refines {can}; give a scale in that range or a target spacing")
    wanted: dict[Any, float] = dict.fromkeys(request.dims.values(), 1.0)
    if request.factors is not None:
        wanted |= request.factors
    elif request.number is not None:
        wanted |= {dim: request.number for dim, (_, high) in spans.items() if high > 1}
    for dim, factor in wanted.items():
        if dim not in spans and request.exact:
            continue
        low, high = spans.get(dim, (1.0, 1.0))
        if not low * (1 - SAME_FACTOR) <= factor <= high * (1 + SAME_FACTOR):
            raise ModelError(f"{name} refines {can}, not {request}; ask for factors in that range")
    return Choice(generator, name, "cubic", tuple(spans), dict.fromkeys(spans, 1), wanted, interpolated=True)
