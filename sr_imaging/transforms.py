"""MONAI transforms: scans through our reader, one plane of a scan, and LR made from HR.

The reader is ours because a patch must come from the right place: MONAI's own merge series, misplace slices
and invent affines. Crops, flips, rotations and caches are MONAI's.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.image_reader import ImageReader
from monai.transforms.transform import MapTransform, RandomizableTransform
from torch import Tensor

from . import geometry, io
from .degradation import BOX, Psf, margin, psf_kernel
from .errors import GridError
from .networks import replicate

__all__ = [
    "ContextPadd",
    "Degraded",
    "LoadScand",
    "RandPlaned",
    "SrImagingReader",
    "degrade_batch",
    "take_plane",
    "views",
]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FINE_AXIS = 1.25  # an axis is fine where its spacing is at most this many times the finest


class SrImagingReader(ImageReader):
    """MONAI image reader over :func:`sr_imaging.read`: every format, our geometry.

    Arrays come channel first in the axis order z, y, x; nodata is NaN. The affine maps that index to world
    millimetres in RAS, as MONAI expects; a raster's maps to CRS coordinates.
    """

    def verify_suffix(self, filename: Any) -> bool:
        """Accept every name: formats are told by content."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Read one path or scan, or a sequence of one, as a DataArray."""
        first = data[0] if isinstance(data, Sequence) and not isinstance(data, str) else data
        return io.read(first, masked=True)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Return ``(C, [z,] y, x)`` float32 voxels and their facts."""
        dims = [*geometry.spatial_dims(img).values()]
        if not dims:
            raise GridError(f"dims {img.dims} have no spatial axis; name them y, x or z, y, x")
        lead = [dim for dim in img.dims if dim not in dims]
        values = np.asarray(img.transpose(*lead, *dims).values, dtype=np.float32)
        values = np.where(np.isfinite(values), values, np.nan)
        values = values.reshape(-1, *values.shape[len(lead) :])
        steps = geometry.spacing(img)
        return values, {
            "original_channel_dim": 0,
            "spatial_shape": np.asarray(values.shape[1:]),
            "affine": _monai_affine(img),
            "spacing": tuple(steps.get(dim, 1.0) for dim in dims),
            "unit": _unit(img, dims[-1], has_spacing=len(steps) == len(dims)),
        }


def _monai_affine(img: Any) -> np.ndarray:
    """4×4 affine of the index in the order of the array: RAS for volumes, CRS for rasters."""
    if "volume_ref" in img.coords:
        return np.asarray(LPS_TO_RAS @ geometry.affine(img))
    matrix = np.eye(4)
    numbers = geometry.geo_transform(img) if {"y", "x"} <= set(geometry.spatial_dims(img)) else None
    if numbers is not None:
        x0, a, b, y0, d, e = numbers
        matrix[:2, :2] = [[b, a], [e, d]]  # rows: world x, y; columns: index y, x
        matrix[:2, 3] = [x0 + (a + b) / 2, y0 + (d + e) / 2]
    return matrix


def _unit(img: Any, dim: Any, *, has_spacing: bool) -> str:
    """Unit of the spacing: mm for volumes, that of the CRS for rasters, empty where unknown."""
    if "volume_ref" in img.coords:
        return "mm"
    if not has_spacing or "spatial_ref" not in img.coords:
        return ""
    wkt = str(img.coords["spatial_ref"].attrs.get("crs_wkt", ""))
    stated = str(img.coords[dim].attrs.get("units", "")) if dim in img.coords else ""
    return "degree" if wkt.startswith(("GEOG", "GCS")) or stated.startswith("degree") else "m" if wkt else ""


class LoadScand(MapTransform):
    """Read the scan under a key with :class:`SrImagingReader`.

    MONAI's ``LoadImaged`` would try its own readers where ours refuses a scan. Adds ``<key>_facts``: a dict
    with ``spacing``, ``unit`` and ``std``, the standard deviation of each channel's valid pixels.

    Parameters
    ----------
    keys : str or sequence of str
        Keys whose values are paths or scans.
    clip : (float, float), optional
        Values are limited to this range.
    kept : (float, float)
        Part of the first spatial axis to keep, as fractions.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        clip: tuple[float, float] | None = None,
        kept: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(keys)
        self.clip = clip
        self.kept = kept
        self.reader = SrImagingReader()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace every path by a ``(C, [z,] y, x)`` float32 tensor."""
        out = dict(data)
        for key in self.key_iterator(out):
            image, meta = self.reader.get_data(self.reader.read(out[key]))
            values = torch.from_numpy(image)
            first, last = (round(values.shape[1] * fraction) for fraction in self.kept)
            values = values[:, first:last].clone()
            if self.clip is not None:
                values = values.clamp(*self.clip)
            out[key] = values
            out[f"{key}_facts"] = {
                "spacing": tuple(float(step) for step in meta["spacing"]),
                "unit": str(meta["unit"]),
                "std": _deviations(values),
            }
        return out


def _deviations(values: Tensor) -> list[float]:
    """Standard deviation of the valid pixels of each channel; 0 where there are none."""
    valid = torch.isfinite(values)
    found = []
    for channel, keep in zip(values, valid, strict=True):
        pixels = channel[keep].double()
        found.append(float(pixels.std(correction=0)) if pixels.numel() else 0.0)
    return found


def views(
    spacing: Sequence[float],
    axes: tuple[str, ...],
    *,
    shape: Sequence[int] | None = None,
    least: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Return which spatial axes of a scan can play the axes of a network.

    Parameters
    ----------
    spacing : sequence of float
        HR spacing of the scan's spatial axes, in the order of the array.
    axes : tuple of str
        Axes of the network. ``("z", "plane")`` may be any ordered pair of fine axes, since detail along any
        of them teaches what is lost along z; others are the last axes of the scan, as they lie.
    shape, least : sequence of int, optional
        Size of the scan's spatial axes, and the smallest size that each axis of the network needs.

    Returns
    -------
    list of tuple of int
        Axes counted from the first spatial one; empty where the scan cannot serve.

    Examples
    --------
    >>> views((3.0, 0.7, 0.7), ("z", "plane"))
    [(1, 2), (2, 1)]
    >>> views((3.0, 0.7, 0.7), ("y", "x"))
    [(1, 2)]
    """
    count = len(spacing)
    if axes != ("z", "plane"):
        options = [tuple(range(count - len(axes), count))] if count >= len(axes) else []
    else:
        fine = [k for k, step in enumerate(spacing) if step <= FINE_AXIS * min(spacing)]
        options = list(permutations(fine, 2))
    if shape is None or least is None:
        return options
    return [view for view in options if all(shape[k] >= n for k, n in zip(view, least, strict=True))]


class RandPlaned(RandomizableTransform, MapTransform):
    """Draw one image of the network's axes from a scan: a band, a slice, a plane or the whole volume.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of ``(C, [z,] y, x)`` tensors that were read by :class:`LoadScand`.
    axes : tuple of str
        Axes of the network; see :func:`views`.
    in_channels : int
        1 draws one channel; any other number keeps all.
    least : tuple of int
        Smallest size of each axis of the image.
    """

    def __init__(
        self, keys: KeysCollection, *, axes: tuple[str, ...], in_channels: int = 1, least: Sequence[int]
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.axes = axes
        self.in_channels = in_channels
        self.least = tuple(least)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace every scan by a view of one image, and its facts by those of the drawn channel."""
        out = dict(data)
        for key in self.key_iterator(out):
            facts = out[f"{key}_facts"]
            shape = out[key].shape[1:]
            options = views(facts["spacing"], self.axes, shape=shape, least=self.least)
            view = options[self.R.randint(len(options))]
            channel = self.R.randint(out[key].shape[0]) if self.in_channels == 1 else None
            index = {axis: self.R.randint(size) for axis, size in enumerate(shape)}
            out[key] = take_plane(out[key], view, channel, index)
            std = facts["std"][channel or 0] if channel is not None else max(facts["std"])
            out[f"{key}_std"] = std
            del out[f"{key}_facts"]
        return out


def take_plane(scan: Tensor, view: tuple[int, ...], channel: int | None, index: Mapping[int, int]) -> Tensor:
    """Return ``(C, *view)`` of a ``(C, [z,] y, x)`` scan at `index` of the axes that are not in the view."""
    image = scan if channel is None else scan[channel : channel + 1]
    for axis in range(scan.ndim - 2, -1, -1):
        if axis not in view:
            image = image.select(1 + axis, index[axis])
    rank = sorted(view)
    return image.permute(0, *(1 + rank.index(axis) for axis in view))


class ContextPadd(MapTransform):
    """Replicate the border of small images, so that patches at their edges can have context.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of ``(C, *n)`` tensors.
    context : sequence of int
        Pixels to add on each side of each axis.
    below : sequence of int
        An axis is padded where it is shorter than this.
    """

    def __init__(self, keys: KeysCollection, *, context: Sequence[int], below: Sequence[int]) -> None:
        super().__init__(keys)
        self.context = tuple(context)
        self.below = tuple(below)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pad each image where it is small."""
        out = dict(data)
        for key in self.key_iterator(out):
            sizes = zip(out[key].shape[1:], self.below, self.context, strict=True)
            widths = [(context,) * 2 if size < below else (0, 0) for size, below, context in sizes]
            out[key] = replicate(out[key][None], widths)[0]
        return out


class Degraded(MapTransform):
    """Add the LR image of an HR image.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of ``(C, *n)`` HR tensors, n a whole multiple of the scale plus the margin on both sides.
    scale : tuple of int
        HR pixels per LR pixel of each axis.
    psf : Psf
        Point-spread function of the axes with a scale above 1.
    lr_key : str
        Name of the LR image.

    Notes
    -----
    The HR image loses the margin that only the point-spread function needs, so that both cover one area.
    """

    def __init__(
        self, keys: KeysCollection, *, scale: Sequence[int], psf: Psf = BOX, lr_key: str = "lr"
    ) -> None:
        super().__init__(keys)
        self.scale = tuple(scale)
        self.psf = psf
        self.lr_key = lr_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add LR and trim HR."""
        out = dict(data)
        for key in self.key_iterator(out):
            hr = torch.as_tensor(out[key]).as_subclass(Tensor)
            out[self.lr_key] = degrade_batch(hr[None], self.psf, self.scale)[0]
            for axis, s in enumerate(self.scale):
                edge = margin(self.psf, s)
                hr = hr.narrow(1 + axis, edge, hr.shape[1 + axis] - 2 * edge)
            out[key] = hr
        return out


@lru_cache(maxsize=64)
def _matrix(psf: Psf, scale: int, size: int) -> Tensor:
    """Banded ``(size, size * scale + 2 * margin)`` matrix of one degraded axis."""
    kernel = torch.from_numpy(psf_kernel(psf, scale))
    matrix = torch.zeros(size, (size - 1) * scale + len(kernel), dtype=torch.float64)
    for row in range(size):
        matrix[row, row * scale : row * scale + len(kernel)] = kernel
    return matrix.float()


def degrade_batch(hr: Tensor, psf: Psf, scale: Sequence[int]) -> Tensor:
    """Down-sample a batch that has the margin of the point-spread function around it.

    Parameters
    ----------
    hr : (B, C, *(n * scale + 2 * margin)) Tensor
        Float32, finite.
    psf : Psf
        Point-spread function of the axes with a scale above 1.
    scale : sequence of int
        HR pixels per LR pixel of each axis.

    Returns
    -------
    (B, C, *n) Tensor
        The operator of :func:`sr_imaging.degrade`, one banded matrix per axis.

    Raises
    ------
    GridError
        If a size is no whole multiple of the scale plus the margin.
    """
    for axis, s in enumerate(scale):
        if s == 1:
            continue
        size, rest = divmod(hr.shape[2 + axis] - 2 * margin(psf, s), s)
        if rest or size < 1:
            raise GridError(
                f"{hr.shape[2 + axis]} HR pixels are not {s} times a whole number plus twice the margin of "
                f"{margin(psf, s)}; crop them"
            )
        matrix = _matrix(psf, s, size).to(hr.device)
        hr = (hr.movedim(2 + axis, -1) @ matrix.T).movedim(-1, 2 + axis)
    return hr
