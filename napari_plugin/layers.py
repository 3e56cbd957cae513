"""What an image layer says of its pixels: dims, spacing, unit; and the array that super-resolution takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from sr_imaging.image.grid.axes import AXES, AXIS_OF

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image

__all__ = [
    "LayerImage",
    "describe",
    "linear_part",
    "pixels",
    "plain_names",
    "restore_names",
    "to_array",
    "to_outline",
    "unit_factor",
]

_AXIS_OF = {name.lower(): axis for name, axis in AXIS_OF.items()}  # people write labels in any case
_CHANNEL = "channel"


@dataclass(frozen=True)
class LayerImage:
    """An image layer as its pixels lie, without the colour axis of an RGB layer."""

    dims: tuple[str, ...]  # of an array with coordinates, or napari's axis labels, or z, y, x
    axes: tuple[str, ...]  # for each of them z, y, x, or an empty string for stacked images
    shape: tuple[int, ...]
    spacing: tuple[float, ...]  # of pixel centres along each dim, in world units, positive
    units: tuple[str, ...]  # of each spacing as pint writes it: pixel, millimeter, ...
    dtype: np.dtype[Any]
    colours: int = 0  # length of the colour axis, 0 where the layer is not RGB
    modality: str = ""  # CT, MR, ... where the array states it
    is_lazy: bool = False  # whether the pixels are computed or read when asked for

    @property
    def nbytes(self) -> int:
        """Memory of the pixels in bytes."""
        return prod(self.shape) * max(1, self.colours) * self.dtype.itemsize

    def place(self, axis: str) -> int | None:
        """Index of the data axis that is z, y or x, or None."""
        return self.axes.index(axis) if axis in self.axes else None


def pixels(layer: "Image") -> Any:
    """Return the array of a layer, the finest one of a multiscale layer."""
    return layer.data[0] if layer.multiscale else layer.data


def describe(layer: "Image", *, as_volume: bool = True) -> LayerImage:
    """Return what a layer says of its pixels; nothing is read or computed.

    `as_volume` says whether the third axis from the end is z; else every axis but the last two stacks images.
    """
    data = pixels(layer)
    count = layer.ndim
    names = _find_names(layer, data, count)
    if names is None:
        lead = [f"axis_{k}" for k in range(count - 3)]
        names = (*lead, *AXES)[-count:]
    axes = tuple(_AXIS_OF.get(name.lower(), "") for name in names)
    if not as_volume:
        axes = tuple("" if axis == "z" else axis for axis in axes)
    lengths = np.linalg.norm(linear_part(layer), axis=0)
    return LayerImage(
        dims=names,
        axes=axes,
        shape=tuple(int(n) for n in data.shape[:count]),
        spacing=tuple(float(length) for length in lengths),
        units=tuple(str(unit) for unit in layer.units),
        dtype=np.dtype(data.dtype),
        colours=int(data.shape[-1]) if layer.rgb else 0,
        modality=_read_modality(data),
        is_lazy=_is_lazy(data),
    )


def linear_part(layer: "Image") -> np.ndarray:
    """Return the matrix that takes a step in pixels to a step in the world, ``affine`` included."""
    from napari.utils.transforms import Affine

    inner = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear).linear_matrix
    return np.asarray(layer.affine.linear_matrix @ inner)


def to_array(layer: "Image", image: LayerImage, unit: str = "") -> "xr.DataArray":
    """Return the array to super-resolve; lazy pixels stay lazy, and an array with coordinates keeps them.

    Its dims are z, y, x under these names, others under names that no axis has, and ``channel`` last for RGB.
    An array without coordinates gets some in `unit`, so that a model can compare its spacing.
    """
    import dask.array
    import xarray as xr

    data = pixels(layer)
    if not isinstance(data, xr.DataArray):
        if not isinstance(data, np.ndarray | dask.array.Array):
            data = dask.array.from_array(data)
        data = xr.DataArray(data, dims=[*image.dims, *([_CHANNEL] if image.colours else [])])
        data = data.assign_coords(_make_coordinates(image, unit))
    return _rename_dims(data, plain_names(image))


def to_outline(image: LayerImage, unit: str) -> "xr.DataArray":
    """Return an array of the shape, spacing in `unit` and modality of a layer, without its pixels."""
    import xarray as xr

    nothing = np.broadcast_to(np.zeros((), np.uint8), image.shape)
    da = xr.DataArray(nothing, dims=image.dims, coords=_make_coordinates(image, unit))
    if image.modality:
        da = da.assign_coords(volume_ref=((), 0, {"modality": image.modality}))
    return _rename_dims(da, plain_names(image))


def restore_names(da: "xr.DataArray", image: LayerImage) -> "xr.DataArray":
    """Return a result under the names that the layer has for its axes."""
    return _rename_dims(da, image.dims)


def _rename_dims(da: "xr.DataArray", names: Sequence[str]) -> "xr.DataArray":
    """Return an array with the first of its dims under other names."""
    changed = {old: new for old, new in zip(da.dims, names, strict=False) if old != new}
    return da.rename(changed) if changed else da


def unit_factor(unit: str, target: str) -> float | None:
    """Return by what a number in `unit` is multiplied to be in `target`; None where they do not compare."""
    import pint

    try:
        return float(pint.Quantity(1.0, unit).to(target).magnitude)
    except (pint.DimensionalityError, pint.UndefinedUnitError):
        return None


def _find_names(layer: "Image", data: Any, count: int) -> tuple[str, ...] | None:
    """Return the names that the array or the layer gives its axes, None unless the last are y and x."""
    of_array = tuple(str(dim) for dim in getattr(data, "dims", ()))[:count]
    for names in (of_array, tuple(layer.axis_labels)):
        if [_AXIS_OF.get(name.lower()) for name in names[-2:]] == ["y", "x"] and len(names) == count:
            return names
    return None


def plain_names(image: LayerImage) -> list[str]:
    """Return the dims as super-resolution knows them: z, y, x, and names that are none of these."""
    return [
        axis or (f"{dim}_planes" if dim.lower() in _AXIS_OF else dim)
        for dim, axis in zip(image.dims, image.axes, strict=True)
    ]


def _is_lazy(data: Any) -> bool:
    """Return whether an array is not in memory."""
    inner = getattr(data, "variable", data)
    return not isinstance(getattr(inner, "_data", inner), np.ndarray)


def _read_modality(data: Any) -> str:
    """Return the modality that the coordinates of a volume state."""
    coords = getattr(data, "coords", {})
    return str(coords["volume_ref"].attrs.get("modality", "")) if "volume_ref" in coords else ""


def _make_coordinates(image: LayerImage, unit: str) -> dict[str, Any]:
    """Return the pixel centres, in `unit`, of the spatial axes whose unit compares with it."""
    coords: dict[str, Any] = {}
    for k, dim in enumerate(image.dims):
        factor = unit_factor(image.units[k], unit) if unit and image.axes[k] else None
        if factor is not None:
            coords[dim] = (dim, np.arange(image.shape[k]) * image.spacing[k] * factor, {"units": unit})
    return coords
