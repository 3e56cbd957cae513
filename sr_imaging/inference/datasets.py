"""Datasets and trees: images go through the model, what lies beside them moves to their new grid."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, InputTypeError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.refinement import STALE_ENCODING, refine
from sr_imaging.image.pixels.resampling import repeat_nearest, resample
from sr_imaging.image.pixels.values import values_of
from sr_imaging.image.stored_numbers import is_flag, normalise_numbers

from .model_choice import Choice
from .options import Progress

__all__ = ["Each", "upscale_all"]

Container = xr.Dataset | xr.DataTree
Each = Callable[[xr.DataArray, Any, Progress | None], xr.DataArray]
_PLACES = ("xc", "yc", "mask")  # coords on the pixels that an image needs beside those of its dims
_PER_IMAGE = 1000  # steps of progress


def upscale_all(
    obj: Container, each: Each, choose: Callable[[xr.DataArray], Choice], progress: Progress | None
) -> Container:
    """Return a dataset or a tree with every image super-resolved.

    Images are the variables of real numbers with y, x and all other spatial dims that an image here has.
    ``each(da, generator, progress)`` super-resolves one of them; what `choose` returns for the first holds
    for all of its group. Of the others, those without a refined dim stay; the rest, and coords, are
    interpolated linearly where they hold numbers and repeated where they hold anything else.

    Raises GridError if the variables lie on two grids, InputTypeError if there is no image.
    """
    tree = xr.DataTree(obj) if isinstance(obj, xr.Dataset) else obj
    nodes = {node.path: node for node in tree.subtree}
    groups = {path: node.to_dataset() for path, node in nodes.items()}
    images = {path: _find_images(ds) for path, ds in groups.items()}
    first = {path: names[0] for path, names in images.items() if names}
    if not first:
        names = ", ".join(f"{v} {ds[v].dims}" for ds in groups.values() for v in ds.data_vars) or "nothing"
        raise InputTypeError(
            f"the {type(obj).__name__} has no variable of real numbers with dims y and x, only {names}; "
            "rename the dims of its images to y and x"
        )
    choices = {path: choose(groups[path][name]) for path, name in first.items()}
    shares = _share_progress(progress, sum(map(len, images.values())))
    finer = {}
    for path, ds in groups.items():
        choice = choices.get(path) or _choose_like_kin(nodes[path], choices)
        finer[path] = ds if choice is None else _refine_group(ds, images[path], choice, each, shares)
    if isinstance(obj, xr.Dataset):
        return finer["/"]
    return xr.DataTree.from_dict(finer, name=tree.name)


def _find_images(ds: xr.Dataset) -> list[Any]:
    """Return the names of the variables of real numbers with y, x and as many spatial dims as any of them."""
    axes, helpers = {}, _find_referred(ds)
    for name, da in ds.data_vars.items():
        dims = {} if name in helpers else spatial_dims(da)
        if da.dtype.kind in "biuf" and {"y", "x"} <= dims.keys():
            axes[name] = tuple(dims.values())
    most = max(map(len, axes.values()), default=0)
    grids = {dims for dims in axes.values() if len(dims) == most}
    if len(grids) > 1:
        text = " and ".join(f"({', '.join(map(str, dims))})" for dims in sorted(grids, key=str))
        raise GridError(f"the variables lie on the grids {text}; select those of one grid")
    return [name for name, dims in axes.items() if len(dims) == most]


def _choose_like_kin(node: xr.DataTree, choices: Mapping[str, Choice]) -> Choice | None:
    """Return the choice for a group without images: that of a kin whose dims it has, or some of them."""
    kin = [*node.descendants, *node.parents]
    spatial = {dim: node.sizes[dim] for dim in node.dims}
    for other in kin:
        choice = choices.get(other.path)
        shared = [dim for dim in choice.dims if dim in spatial] if choice is not None else []
        if shared and all(spatial[dim] == other.sizes[dim] for dim in shared):
            return choice
    return None


def _refine_group(
    ds: xr.Dataset, images: list[Any], choice: Choice, each: Each, shares: Iterable[Progress | None]
) -> xr.Dataset:
    """Return one group on the refined grid."""
    scale = {dim: s for dim, s in choice.scale.items() if s != 1 and dim in ds.dims}
    helpers = [name for name in ds.data_vars if name in _find_referred(ds)]
    with_coords = ds.set_coords(helpers)
    frame = _refine_coords(with_coords, images, scale)
    variables: dict[Any, Any] = {}
    references: dict[Any, xr.DataArray] = {}
    for name in ds.data_vars:
        if name in helpers:
            continue
        if name in images:
            da = with_coords[name]
            idle = [
                c for c in da.coords if c not in da.dims and c not in _PLACES and _refined_dims(da[c], scale)
            ]
            sr = each(da.drop_vars(idle), choice.generator, next(iter(shares)))
            references |= {c: sr.coords[c] for c in sr.coords if not sr.coords[c].ndim}
            variables[name] = sr.variable
        else:
            variables[name] = _refine_other(with_coords[name], scale)
    frame = frame.assign_coords(references)
    variables |= {name: frame.coords[name].variable for name in helpers if name in frame.coords}
    made = {name: variables[name] for name in ds.data_vars if name in variables}
    finer = xr.Dataset(
        made,
        coords=frame.drop_vars(helpers, errors="ignore").coords,
        attrs=_merge_attrs(ds, variables, images),
    )
    finer.encoding = {key: value for key, value in ds.encoding.items() if key not in STALE_ENCODING}
    return finer


def _find_referred(ds: xr.Dataset) -> set[Any]:
    """Return the names of grid mappings and bounds of cells, to which the variables refer for their place."""
    stated = [(*v.attrs.items(), *v.encoding.items()) for v in ds.variables.values()]
    return {value for items in stated for key, value in items if key in ("grid_mapping", "bounds")}


def _refine_coords(ds: xr.Dataset, images: list[Any], scale: Mapping[Any, float]) -> xr.DataArray:
    """Return all coords of a group on the refined grid, on an array that takes no memory."""
    nothing = np.zeros((), bool)
    frame = xr.DataArray(np.broadcast_to(nothing, tuple(ds.sizes.values())), dims=tuple(ds.sizes))
    frame = frame.assign_coords(ds.coords)
    for name in images[:1]:
        for place in (ds[name].attrs, ds[name].encoding):
            frame.encoding.update({k: v for k, v in place.items() if k == "grid_mapping"})
    shape = [round(n * scale.get(dim, 1)) for dim, n in ds.sizes.items()]
    return refine(frame, np.broadcast_to(nothing, shape), scale)


def _refined_dims(da: xr.DataArray, scale: Mapping[Any, float]) -> list[Any]:
    """Return the dims of a variable that are refined."""
    return [dim for dim in da.dims if dim in scale]


def _refine_other(da: xr.DataArray, scale: Mapping[Any, float]) -> xr.Variable:
    """Return what is not an image at the new centres: linear if it holds numbers, else repeated."""
    factors = {da.get_axis_num(dim): scale[dim] for dim in _refined_dims(da, scale)}
    if not factors:
        return da.variable
    da = normalise_numbers(da)
    if da.dtype.kind not in "iuf" or is_flag(da):
        data = repeat_nearest(da.data, factors)
    else:
        values = values_of(da)
        floats = _apply_lazily(da.data, values.decode, values.work_dtype)
        floats = resample(floats, {axis: (1, s) for axis, s in factors.items()}, "linear")
        data = _apply_lazily(floats, values.encode, values.out_dtype)
    encoding = {key: value for key, value in da.encoding.items() if key not in STALE_ENCODING}
    return xr.Variable(da.dims, data, dict(da.attrs), encoding)


def _apply_lazily(data: Any, function: Callable[[np.ndarray], np.ndarray], dtype: Any) -> Any:
    """Return a function of an array, lazily of a lazy one."""
    lazy = isinstance(data, dask.array.Array)
    return data.map_blocks(function, dtype=dtype) if lazy else function(data)


def _merge_attrs(ds: xr.Dataset, variables: Mapping[Any, Any], images: list[Any]) -> dict[Any, Any]:
    """Return the attributes of a group, with the line of history that its images have got."""
    attrs = dict(ds.attrs)
    for name in images[:1]:
        line = str(variables[name].attrs["history"]).split("\n")[-1]
        attrs["history"] = f"{attrs['history']}\n{line}" if attrs.get("history") else line
    return attrs


def _share_progress(progress: Progress | None, count: int) -> Iterable[Progress | None]:
    """Return one callback for each of `count` images, together one progress of the whole."""
    if progress is None:
        return iter([None] * count)
    done = [0] * count

    def share(number: int) -> Progress:
        def step(tiles: int, total: int) -> None:
            done[number] = _PER_IMAGE * tiles // max(total, 1)
            progress(sum(done), _PER_IMAGE * count)

        return step

    return iter([share(number) for number in range(count)])
