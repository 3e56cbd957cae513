"""What to show of a scan: the whole, the same crop through every model, and where each errs."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.pixel_spacing import spacing as grid_spacing

from .drawing import Panel, Plot, Row

__all__ = ["error_row", "picture_row"]

_RASTER_PIXELS = 44  # side of a crop in LR pixels: few enough to be seen one by one
_VOLUME_MM = 64.0  # side of a crop through slices
_LEAST_PIXELS = 56  # of such a crop, where the voxels are large
_LARGEST_WHOLE = 640  # pixels of the picture of a whole: more than a panel shows
_RELIEF_NAMES = ("elevation", "dem", "height", "altitude")
_LIFT = 0.25  # heights of a relief over the width of a crop
_LIGHT = (315.0, 45.0)  # degrees: azimuth and altitude of the sun over a relief


def picture_row(
    title: str,
    lr: xr.DataArray,
    results: Mapping[str, xr.DataArray],
    truth: xr.DataArray | None,
    labels: Mapping[str, str],
) -> Row:
    """Return the pictures of one scan: the whole, then the same crop of LR, of every result and of the truth.

    Results and truth lie on one grid; `labels` are the words above each, ``input`` and ``truth`` among them.
    """
    flat = _cut_planes(lr, results, truth)
    whole, window = _choose_window(flat)
    shade = _make_shader(whole.isel(window))
    panels = [Panel("the whole, and the crop", shade(_thin_out(whole)), _find_box(whole, window))]
    for name, da in flat.items():
        part = _scale_window(window, whole, da) if name == "input" else window
        panels.append(Panel(labels[name], shade(da.isel(part))))
    crop = _measure_aspect(whole.isel(window))
    return Row(title, tuple(panels), (_measure_aspect(whole), *[crop] * len(flat)))


def error_row(lr: xr.DataArray, results: Mapping[str, xr.DataArray], truth: xr.DataArray, plot: Plot) -> Row:
    """Return what goes below :func:`picture_row` of the same scan: a plot, and the errors of every result.

    Errors are result less truth, the mean over bands; red is too high, blue too low, and all have the limits
    that hold 99 % of the errors of the first result.
    """
    from matplotlib import colormaps

    flat = _cut_planes(lr, results, truth)
    whole, window = _choose_window(flat)
    errors = {name: _average_error(flat[name].isel(window), flat["truth"].isel(window)) for name in results}
    limit = float(np.nanpercentile(np.abs(next(iter(errors.values()))), 99)) or 1.0
    panels = tuple(
        Panel(f"{name} less truth, ±{limit:.3g}", _colour_error(colormaps["RdBu_r"], error / limit))
        for name, error in errors.items()
    )
    return Row("", panels, (_measure_aspect(whole.isel(window)),) * len(panels), plot)


def _cut_planes(
    lr: xr.DataArray, results: Mapping[str, xr.DataArray], truth: xr.DataArray | None
) -> dict[str, xr.DataArray]:
    """Return the plane that is shown of each array: input, results, truth."""
    shown = {"input": lr, **results} | ({} if truth is None else {"truth": truth})
    return {name: _cut_plane(da) for name, da in shown.items()}


def _choose_window(flat: Mapping[str, xr.DataArray]) -> tuple[xr.DataArray, dict[Any, slice]]:
    """Return the plane of the truth (or of a result), and the window of it to show."""
    whole = flat.get("truth", [*flat.values()][1])
    coarse = {dim: max(1, round(whole.sizes[dim] / flat["input"].sizes[dim])) for dim in _side_dims(whole)}
    return whole, _find_busiest_window(whole, coarse)


def _scale_window(window: Mapping[Any, slice], fine: xr.DataArray, lr: xr.DataArray) -> dict[Any, slice]:
    """Return the window of a fine plane on the coarse one."""
    ratio = {dim: lr.sizes[dim] / fine.sizes[dim] for dim in window}
    return {d: slice(round(w.start * ratio[d]), round(w.stop * ratio[d])) for d, w in window.items()}


def _average_error(plane: xr.DataArray, truth: xr.DataArray) -> np.ndarray:
    """Return the mean difference over bands, as ``(rows, columns)``."""
    sides = _side_dims(truth)
    difference = plane.astype(np.float64) - truth.values
    return np.asarray(
        difference.mean([dim for dim in difference.dims if dim not in sides]).transpose(*sides).values
    )


def _colour_error(colours: Any, error: np.ndarray) -> np.ndarray:
    """Return an error between -1 and 1 as colours; invalid pixels are grey."""
    image = np.asarray(colours(np.clip((error + 1) / 2, 0, 1))[..., :3])
    return np.where(np.isfinite(error)[..., None], image, 0.6)


def _thin_out(plane: xr.DataArray) -> xr.DataArray:
    """Return a plane with no more pixels than its picture shows."""
    down, along = _side_dims(plane)
    step = max(1, ceil(max(plane.sizes[down], plane.sizes[along]) / _LARGEST_WHOLE))
    return plane.isel({down: slice(None, None, step), along: slice(None, None, step)})


def _side_dims(plane: xr.DataArray) -> tuple[Any, Any]:
    """Return the dims of a plane from top to bottom and from left to right."""
    dims = [dim for dim in spatial_dims(plane).values() if dim in plane.dims]
    return dims[-2], dims[-1]


def _cut_plane(da: xr.DataArray) -> xr.DataArray:
    """Return a picture of an array: a raster as it is, a volume cut through its slices, head up."""
    dims = spatial_dims(da)
    lead = [dim for dim in da.dims if dim not in dims.values()]
    da = da.isel({dim: 0 for dim in (lead if "z" in dims else lead[:-1])})
    if "z" not in dims:
        return da.load()
    middle = da.isel({dims["y"]: da.sizes[dims["y"]] // 2})
    attrs = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
    upward = float(np.asarray(attrs.get("direction", np.eye(3).ravel()), dtype=float)[6]) >= 0  # z towards S
    return middle.isel({dims["z"]: slice(None, None, -1)}).load() if upward or not attrs else middle.load()


def _measure_aspect(plane: xr.DataArray) -> float:
    """Return height over width in the world; pixels count as square where nothing states their spacing."""
    down, along = _side_dims(plane)
    steps = grid_spacing(plane)
    ratio = steps[down] / steps[along] if {down, along} <= steps.keys() else 1.0
    return float(ratio * plane.sizes[down] / plane.sizes[along])


def _find_busiest_window(plane: xr.DataArray, coarse: Mapping[Any, int]) -> dict[Any, slice]:
    """Return the window with the most edges, on whole LR pixels."""
    down, along = _side_dims(plane)
    size = {dim: _choose_window_size(plane, dim, coarse) for dim in (down, along)}
    values = _pick_band(plane).transpose(down, along).values.astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nanmean(values) if np.isfinite(values).any() else 0.0)
    edges = uniform_filter(gaussian_gradient_magnitude(values, 1.5), [size[down], size[along]])
    window = {}
    centre = _find_highest_mean(edges, [size[down], size[along]])
    for dim, middle in zip((down, along), centre, strict=True):
        s = coarse[dim]
        start = min(max(0, middle - size[dim] // 2), plane.sizes[dim] - size[dim]) // s * s
        window[dim] = slice(start, start + size[dim])
    return window


def _find_highest_mean(edges: np.ndarray, size: Sequence[int]) -> list[int]:
    """Return the middle of the window inside the image whose mean is highest."""
    inner = tuple(
        slice(n // 2, max(n // 2 + 1, m - ceil(n / 2) + 1)) for n, m in zip(size, edges.shape, strict=True)
    )
    place = np.unravel_index(np.argmax(edges[inner]), edges[inner].shape)
    return [int(p + (s.start or 0)) for p, s in zip(place, inner, strict=True)]


def _choose_window_size(plane: xr.DataArray, dim: Any, coarse: Mapping[Any, int]) -> int:
    """Return the fine pixels of a crop along a dim, whole LR pixels."""
    steps, s = grid_spacing(plane), coarse[dim]
    asked = _RASTER_PIXELS * max(coarse.values())
    if "volume_ref" in plane.coords and dim in steps:
        asked = round(max(_VOLUME_MM, _LEAST_PIXELS * max(steps.values())) / steps[dim])
    return max(s, min(asked, plane.sizes[dim]) // s * s)


def _find_box(plane: xr.DataArray, window: Mapping[Any, slice]) -> tuple[float, float, float, float]:
    """Return a window as fractions of the plane: left, top, width, height."""
    down, along = _side_dims(plane)
    rows, wide = plane.sizes[down], plane.sizes[along]
    y, x = window[down], window[along]
    return x.start / wide, y.start / rows, (x.stop - x.start) / wide, (y.stop - y.start) / rows


def _pick_band(plane: xr.DataArray) -> xr.DataArray:
    """Return one band of a plane."""
    lead = [dim for dim in plane.dims if dim not in _side_dims(plane)]
    return plane.isel({dim: min(1, plane.sizes[dim] - 1) for dim in lead})


def _make_shader(crop: xr.DataArray) -> Any:
    """Return a function from plane to picture, with the limits of this crop: relief, colours or gray."""
    names = np.atleast_1d(crop.attrs.get("long_name", ""))
    if any(word in str(names[0]).lower() for word in _RELIEF_NAMES):
        return _make_relief_shader(crop)
    down, along = _side_dims(crop)
    lead = [dim for dim in crop.dims if dim not in (down, along)]
    bands = _choose_bands(names, crop.attrs.get("color_interp", ()), crop.sizes[lead[0]]) if lead else None

    def pick(plane: xr.DataArray) -> np.ndarray:
        if not lead:
            return np.asarray(plane.transpose(down, along).values, dtype=np.float64)
        chosen = plane.isel({lead[0]: list(bands) if bands else 0})
        return np.asarray(chosen.transpose(down, along, ...).values, dtype=np.float64)

    low, high = np.nanpercentile(pick(crop), (0.5, 99.5))  # one stretch for all colours keeps their balance
    span = high - low if high > low else 1.0
    return lambda plane: np.nan_to_num(np.clip((pick(plane) - low) / span, 0, 1))


def _choose_bands(names: np.ndarray, kinds: Sequence[str], count: int) -> tuple[int, int, int] | None:
    """Return the bands to show as red, green and blue; None for gray."""
    for said in (list(map(str, names)), list(map(str, kinds))):
        places = [
            [k for k, text in enumerate(said) if colour in text.lower()]
            for colour in ("red", "green", "blue")
        ]
        if all(places) and len(said) == count:
            red = [k for k in places[0] if "infrared" not in said[k].lower()]
            return (red or places[0])[0], places[1][0], places[2][0]
    return (0, 1, 2) if count >= 3 else None


def _make_relief_shader(crop: xr.DataArray) -> Any:
    """Return a function that shades heights by the sun, with the colours of a map."""
    from matplotlib import colormaps
    from matplotlib.colors import LightSource

    low, high = np.nanpercentile(_pick_band(crop).values, (1, 99))
    span = max(high - low, 1e-9)
    lift = _LIFT * crop.sizes[_side_dims(crop)[1]] / span

    def shade(plane: xr.DataArray) -> np.ndarray:
        heights = _pick_band(plane).transpose(*_side_dims(plane)).values.astype(np.float64)
        step = _compare_steps(plane, crop)
        colours = colormaps["gist_earth"](np.clip((heights - low) / span, 0, 1) * 0.7 + 0.2)
        light = LightSource(*_LIGHT)
        shaded = light.shade_rgb(colours[..., :3], heights * lift, blend_mode="soft", dx=step, dy=step)
        return np.asarray(np.clip(shaded, 0, 1))

    return shade


def _compare_steps(plane: xr.DataArray, crop: xr.DataArray) -> float:
    """Return the pixels of the crop per pixel of a plane."""
    along = _side_dims(plane)[1]
    have, want = grid_spacing(plane), grid_spacing(crop)
    return float(have[along] / want[along]) if along in have and along in want else 1.0
