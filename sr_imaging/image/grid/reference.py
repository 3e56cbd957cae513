"""Where the axes lie in the world: steps, GDAL's transform of a raster, the affine of a volume."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import AXES, AXIS_OF, check_grid, even_tolerance, mean_step, spatial_dims

METRES_PER_DEGREE = 111_320.0  # of latitude
_UNITS = {"metre": "m", "meter": "m", "metres": "m", "meters": "m", "millimetre": "mm", "millimeter": "mm"}
_PLACING = {"crs_wkt", "GeoTransform", "grid_mapping_name"}  # attrs of CF's grid mappings
_LAZY_CENTRES = 4096  # pixels: side of a chunk of 2-D centres, where they are lazy
_LOOKED_AT = 256  # rows and columns of 2-D centres


def axis_step(da: xr.DataArray, dim: Any) -> float | None:
    """Return the signed step of a dim, from its coordinate or, for one pixel, from the world reference.

    Parameters
    ----------
    da : DataArray
        Array with an even grid.
    dim : hashable
        A spatial dim of `da`.

    Returns
    -------
    float or None
        Step in the coordinate's unit, negative where it descends; None where nothing states it.
    """
    if dim in da.coords and da.sizes.get(dim, 1) > 1:
        return mean_step(da.coords[dim].values.astype(np.float64))
    axis = AXIS_OF[str(dim)]
    reference = world_reference(da)
    if reference is None:
        return None
    attrs = da.coords[reference].attrs
    if "spacing" in attrs:
        return float(np.asarray(attrs["spacing"], dtype=float)[AXES.index(axis)])
    if "GeoTransform" in attrs and axis in "xy":
        numbers = _parse_geo_transform(attrs["GeoTransform"])
        along = (numbers[1], numbers[4]) if axis == "x" else (numbers[5], numbers[2])
        return along[0] if along[1] == 0 else float(np.copysign(np.hypot(*along), along[0]))
    return None


def spacing(da: xr.DataArray) -> dict[Any, float]:
    """Return the distance between pixel centres along every spatial dim.

    Parameters
    ----------
    da : DataArray
        Array with an even grid.

    Returns
    -------
    dict
        ``{dim: spacing}`` in the order z, y, x, positive, in the coordinate's unit (mm, m, degree). A dim
        whose spacing nothing states is left out. A rotated raster gives the length of its pixel's sides.

    Raises
    ------
    GridError, InputTypeError
        As :func:`check_grid`.
    """
    check_grid(da)
    steps: dict[Any, float] = {}
    rotated = geo_transform(da) if is_rotated(da) else None
    for axis, dim in spatial_dims(da).items():
        if rotated is not None and axis in "xy":
            steps[dim] = float(
                np.hypot(rotated[1], rotated[4]) if axis == "x" else np.hypot(rotated[2], rotated[5])
            )
        elif (step := axis_step(da, dim)) is not None:
            steps[dim] = abs(step)
    return steps


def edges(da: xr.DataArray, dim: Any) -> tuple[float, float]:
    """Return the outer edges of an axis in the order of its index, half a step beyond its end centres.

    Parameters
    ----------
    da : DataArray
        Array with an even grid.
    dim : hashable
        A spatial dim of `da` that has a coordinate.

    Returns
    -------
    (float, float)
        First and last outer edge in the coordinate's unit.

    Raises
    ------
    GridError
        If the spacing of `dim` is not stated anywhere.
    """
    step = axis_step(da, dim)
    if step is None:
        raise GridError(f"dim {dim!r} has one pixel and no stated spacing; its edges are unknown")
    centres = da.coords[dim].values.astype(np.float64)
    return float(centres[0] - step / 2), float(centres[-1] + step / 2)


def world_reference(da: xr.DataArray) -> Any | None:
    """Return the name of the scalar coordinate that places the array in the world, or None."""
    named = da.encoding.get("grid_mapping", da.attrs.get("grid_mapping"))
    if named in da.coords:
        return named
    for name, coord in da.coords.items():
        if coord.ndim == 0 and (name in ("volume_ref", "spatial_ref") or _PLACING & set(coord.attrs)):
            return name
    return None


def spacing_unit(da: xr.DataArray, dim: Any) -> str:
    """Return the unit of the spacing along a spatial dim.

    Parameters
    ----------
    da : DataArray
        Raster or volume.
    dim : hashable
        One of its spatial dims.

    Returns
    -------
    str
        ``mm`` for volumes; ``degree``, ``m`` or another stated unit for rasters, where the CRS counts if the
        coordinate states none; empty where nothing is known.
    """
    if "volume_ref" in da.coords:
        return "mm"
    stated = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    named = world_reference(da)
    wkt = str(da.coords[named].attrs.get("crs_wkt", "")) if named is not None else ""
    if stated.startswith("degree") or (not stated and wkt.startswith(("GEOG", "GCS"))):
        return "degree"
    return _UNITS.get(stated, stated) if stated else "m" if wkt else ""


def is_rotated(da: xr.DataArray) -> bool:
    """Tell whether the array is a rotated or sheared raster, placed by 2-D ``xc`` and ``yc``."""
    return "xc" in da.coords and "yc" in da.coords and da.coords["xc"].ndim == 2


def _parse_geo_transform(text: Any) -> list[float]:
    """Read GDAL's six numbers: x0, dx/dcol, dx/drow, y0, dy/dcol, dy/drow."""
    numbers = [float(part) for part in str(text).split()]
    if len(numbers) != 6:
        raise GridError(
            f"GeoTransform {text!r} has {len(numbers)} numbers, not 6; write it anew with rio.write_transform"
        )
    return numbers


def stated_transform(da: xr.DataArray) -> list[float] | None:
    """GDAL's six numbers as the array's reference states them; stale where the array was cropped."""
    reference = world_reference(da)
    if reference is None or "GeoTransform" not in da.coords[reference].attrs:
        return None
    return _parse_geo_transform(da.coords[reference].attrs["GeoTransform"])


def geo_transform(da: xr.DataArray) -> list[float] | None:
    """Return GDAL's six corner-based numbers of a raster, computed from its coordinates.

    Parameters
    ----------
    da : DataArray
        Raster with dims y and x; 1-D coords, or 2-D ``xc``, ``yc`` where it is rotated.

    Returns
    -------
    list of float or None
        ``[x0, dx/dcol, dx/drow, y0, dy/dcol, dy/drow]``; None where the array has no such coords.
    """
    dims = spatial_dims(da)
    if "y" not in dims or "x" not in dims:
        return None
    if is_rotated(da):
        return _rotated_transform(da, dims["y"], dims["x"])
    if dims["y"] not in da.coords or dims["x"] not in da.coords:
        return None
    dx, dy = axis_step(da, dims["x"]), axis_step(da, dims["y"])
    if dx is None or dy is None:
        return None
    x0 = float(da.coords[dims["x"]].values[0]) - dx / 2
    y0 = float(da.coords[dims["y"]].values[0]) - dy / 2
    return [x0, dx, 0.0, y0, 0.0, dy]


def _rotated_transform(da: xr.DataArray, y: Any, x: Any) -> list[float]:
    """Fit the six numbers to the 2-D centres; a side of one pixel takes its vector from GeoTransform."""
    rows, cols = da.sizes[y], da.sizes[x]
    centres = [_sampled(da.coords[name].transpose(y, x)) for name in ("xc", "yc")]
    stated = stated_transform(da)
    numbers: list[float] = []
    for k, grid in enumerate(centres):
        if stated is None and min(rows, cols) < 2:
            raise GridError(
                "a rotated raster of one row or column needs a GeoTransform; write_transform first"
            )
        along_col = (grid[0, -1] - grid[0, 0]) / (cols - 1) if cols > 1 else stated[3 * k + 1]  # type: ignore[index]
        along_row = (grid[-1, 0] - grid[0, 0]) / (rows - 1) if rows > 1 else stated[3 * k + 2]  # type: ignore[index]
        numbers += [float(grid[0, 0] - along_col / 2 - along_row / 2), float(along_col), float(along_row)]
    _check_straight(da, numbers, centres, [_places(da.coords["xc"], dim) for dim in (y, x)])
    return numbers


def _check_straight(
    da: xr.DataArray, numbers: list[float], centres: list[np.ndarray], places: list[np.ndarray]
) -> None:
    """Raise where 2-D centres are those of a swath or a curvilinear grid, which no six numbers place."""
    if not np.isfinite(centres).all():
        raise GridError("the centres xc, yc have non-finite values; assign those of an even grid")
    x0, a, b, y0, d, e = numbers
    pixel = min(np.hypot(a, d), np.hypot(b, e))
    row, col = (place + 0.5 for place in np.meshgrid(*places, indexing="ij"))
    off = np.hypot(centres[0] - (x0 + a * col + b * row), centres[1] - (y0 + d * col + e * row))
    dtype = min(da.coords["xc"].dtype, da.coords["yc"].dtype)
    if pixel == 0 or off.max() > even_tolerance(dtype, np.stack(centres), pixel) * pixel:
        raise GridError(
            f"the centres xc, yc lie up to {off.max():.3g} off an even grid of pixels of {pixel:.3g}; "
            "resample onto an even grid first"
        )


def rotated_centres(
    numbers: Sequence[float], sizes: Mapping[Any, int], *, lazy: bool = False
) -> dict[str, xr.Variable]:
    """Return the 2-D pixel centres of a rotated raster.

    Parameters
    ----------
    numbers : (6,) sequence of float
        GDAL's corner-based numbers.
    sizes : mapping
        Length of the y dim and of the x dim, in that order.
    lazy : bool
        Return dask arrays, for rasters too large to hold two float64 centres for every pixel.

    Returns
    -------
    dict
        ``xc`` and ``yc``, float64 Variables (y, x) in CRS units.
    """
    x0, a, b, y0, d, e = numbers
    rows, cols = (xr.Variable((dim,), np.arange(size) + 0.5) for dim, size in sizes.items())
    with warnings.catch_warnings():
        if lazy:
            rows, cols = rows.chunk(_LAZY_CENTRES), cols.chunk(_LAZY_CENTRES)
            warnings.filterwarnings("ignore", "Increasing number of chunks")  # an outer sum does
        return {"xc": x0 + (b * rows + a * cols), "yc": y0 + (e * rows + d * cols)}


def _sampled(centres: xr.DataArray) -> np.ndarray:
    """2-D centres at the border and between, without computing the rest of lazy ones."""
    return centres.isel({dim: _places(centres, dim) for dim in centres.dims}).values.astype(np.float64)


def _places(centres: xr.DataArray, dim: Any) -> np.ndarray:
    """Which rows or columns of 2-D centres are looked at: a grid that is bent is so at many of them."""
    count = min(centres.sizes[dim], _LOOKED_AT if centres.chunks is None else 3)
    return np.linspace(0, centres.sizes[dim] - 1, count).astype(int)


def affine(da: xr.DataArray) -> np.ndarray:
    """Return the affine that maps the index (z, y, x, 1) of a volume to world millimetres.

    Parameters
    ----------
    da : DataArray
        Volume or slice with a ``volume_ref`` coordinate (attrs ``origin``, ``direction``, ``spacing``). An
        axis that is no dim counts with its scalar coordinate, or 0.

    Returns
    -------
    (4, 4) float64 ndarray
        Index at voxel centres to DICOM patient coordinates: LPS x, y, z in mm.

    Raises
    ------
    GridError
        If the array has no ``volume_ref``, or an axis states no spacing.
    """
    if "volume_ref" not in da.coords:
        raise GridError(
            "the array has no volume_ref coord; read it with sr_imaging.read or build it with geometry.volume"
        )
    attrs = da.coords["volume_ref"].attrs
    direction = np.asarray(attrs["direction"], dtype=np.float64).reshape(3, 3)
    dims = spatial_dims(da)
    steps, first = np.empty(3), np.zeros(3)
    for k, axis in enumerate(AXES):
        dim = dims.get(axis) or _scalar_coord(da, axis)
        step = axis_step(da, dim)
        if step is None:
            raise GridError(f"axis {axis!r} states no spacing; assign its coordinate in mm")
        steps[k] = step
        if dim in da.coords:
            first[k] = float(np.atleast_1d(da.coords[dim].values)[0])
    matrix = np.eye(4)
    matrix[:3, :3] = direction * steps
    matrix[:3, 3] = np.asarray(attrs["origin"], dtype=np.float64) + direction @ first
    return matrix


def _scalar_coord(da: xr.DataArray, axis: str) -> Any:
    """Name of the scalar coordinate that an axis leaves when one of its pixels is selected, or the axis."""
    names = [name for name, coord in da.coords.items() if coord.ndim == 0 and AXIS_OF.get(str(name)) == axis]
    return names[0] if names else axis


def volume(
    values: Any,
    matrix: np.ndarray,
    *,
    spacing: Sequence[float] | None = None,
    name: str | None = None,
    attrs: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Build a volume after the coordinate contract from voxels and an affine.

    Parameters
    ----------
    values : (..., nz, ny, nx) array
        Voxels; leading axes become dims ``time`` or ``dim_0``, ``dim_1``, … .
    matrix : (4, 4) array
        Index (z, y, x, 1) to LPS (x, y, z, 1) in mm, at voxel centres; columns of any length > 0.
    spacing : (z, y, x) sequence of float, optional
        Exact spacing in mm as the file states it, free of the rounding of the matrix' column lengths.
    name : str, optional
        Name of the array.
    attrs : mapping, optional
        Attributes of the array: ``units``, ``_FillValue``, … .
    reference : mapping, optional
        More attributes of ``volume_ref``: ``slice_thickness`` (mm), ``frame_of_reference_uid``, ``modality``.
        None values are left out.

    Returns
    -------
    DataArray
        With float64 coords z, y, x in mm that start at 0, and the scalar coord ``volume_ref``.

    Raises
    ------
    GridError
        If the affine is singular or not finite, or `spacing` is not that of its columns.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (
        not np.isfinite(matrix).all()
        or (lengths == 0).any()
        or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6
    ):
        raise GridError(
            f"the affine {matrix[:3].tolist()} is singular or not finite; the volume has no place"
        )
    if spacing is not None:
        if not np.allclose(lengths, spacing, rtol=1e-6, atol=0):  # DICOM cosines carry six digits
            raise GridError(f"spacing {tuple(spacing)} mm is not that of the affine, {lengths.tolist()} mm")
        lengths = np.asarray(spacing, dtype=np.float64)
    world = {
        "origin": tuple(matrix[:3, 3].tolist()),
        "direction": tuple((matrix[:3, :3] / lengths).ravel().tolist()),
        "spacing": tuple(lengths.tolist()),
        **{key: value for key, value in (reference or {}).items() if value is not None},
    }
    lead = values.ndim - 3
    dims = (("time",) if lead == 1 else tuple(f"dim_{k}" for k in range(lead))) + AXES
    coords: dict[str, Any] = {
        axis: (axis, np.arange(values.shape[lead + k]) * lengths[k], {"units": "mm"})
        for k, axis in enumerate(AXES)
    }
    coords["volume_ref"] = ((), 0, world)
    return xr.DataArray(values, dims=dims, coords=coords, name=name, attrs=dict(attrs or {}))
