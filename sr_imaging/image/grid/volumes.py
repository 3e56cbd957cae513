"""Where the voxels of a volume lie: its affine, and a volume from voxels and an affine."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import AXES, AXIS_OF, spatial_dims
from .reference import axis_step


def affine(da: xr.DataArray) -> np.ndarray:
    """Return the (4, 4) float64 affine from the index (z, y, x, 1) at voxel centres to LPS x, y, z in mm.

    An axis that is not a dim counts with its scalar coordinate, or 0. A GridError is raised if the array has
    no ``volume_ref`` (attrs ``origin``, ``direction``, ``spacing``), or an axis states no spacing.
    """
    if "volume_ref" not in da.coords:
        raise GridError(
            "the array has no volume_ref coord; read it with sr_imaging.read, or build it with "
            "sr_imaging.image.grid.volumes.volume"
        )
    attrs = da.coords["volume_ref"].attrs
    direction = np.asarray(attrs["direction"], dtype=np.float64).reshape(3, 3)
    dims = spatial_dims(da)
    steps, first = np.empty(3), np.zeros(3)
    for k, axis in enumerate(AXES):
        dim = dims.get(axis) or _find_scalar_coord(da, axis)
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


def _find_scalar_coord(da: xr.DataArray, axis: str) -> Any:
    """Return the scalar coordinate that an axis leaves when one of its pixels is selected, or the axis."""
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
    """Return a volume: `values` (..., z, y, x) with float64 coords in mm that start at 0, and ``volume_ref``.

    `matrix` (4, 4) maps the index (z, y, x, 1) at voxel centres to LPS in mm. `spacing` (z, y, x) is that of
    the file in mm, free of the rounding of the matrix. Leading axes become ``time``, or ``dim_0``, ``dim_1``,
    … . `reference` holds more attributes of ``volume_ref``: ``slice_thickness`` (mm),
    ``frame_of_reference_uid``, ``modality``; None is left out. A GridError is raised if the affine is
    singular, or has another spacing.
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
            raise GridError(
                f"spacing {tuple(spacing)} mm is not that of the affine, {lengths.tolist()} mm; "
                "leave spacing out"
            )
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
