"""Scans to tensors: our reader as MONAI's, partners placed over each other, values checked."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.image_reader import ImageReader
from monai.transforms.transform import MapTransform
from torch import Tensor

from sr_imaging.degradation.real_pairs import aligned_pair
from sr_imaging.errors import ConfigError, GridError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.frames import mean_on_grid
from sr_imaging.image.grid.pixel_spacing import spacing, spacing_unit
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.volumes import affine
from sr_imaging.image.pixels.packing import mask_nodata
from sr_imaging.io import read

from .scan_list import TrainingScan

__all__ = ["LoadScand", "SrImagingReader"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OFF_GRID = 0.02  # LR pixels: largest distance between the grids of a real pair


class SrImagingReader(ImageReader):
    """MONAI image reader over :func:`sr_imaging.read`: every format, our geometry.

    It is ours because a patch must come from the right place: MONAI's own readers merge series, misplace
    slices and invent affines. Arrays come channel first in the axis order z, y, x; nodata is NaN. The affine
    maps that index to world millimetres in RAS, as MONAI expects; a raster's maps to CRS coordinates.
    """

    def verify_suffix(self, filename: Any) -> bool:
        """Accept every name: the content decides on the format."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Return one path or scan, or a sequence of one, as a DataArray."""
        first = data[0] if isinstance(data, Sequence) and not isinstance(data, str) else data
        return read(first, masked=True)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Return ``(C, [z,] y, x)`` float32 voxels and their facts."""
        dims = [*spatial_dims(img).values()]
        if not dims:
            raise GridError(f"dims {img.dims} have no spatial axis; name them y, x or z, y, x")
        lead = [dim for dim in img.dims if dim not in dims]
        values = np.asarray(img.transpose(*lead, *dims).values, dtype=np.float32)
        values = np.where(np.isfinite(values), values, np.nan)
        values = values.reshape(-1, *values.shape[len(lead) :])
        steps = spacing(img)
        return values, {
            "original_channel_dim": 0,
            "spatial_shape": np.asarray(values.shape[1:]),
            "affine": _build_monai_affine(img),
            "spacing": tuple(steps.get(dim, 1.0) for dim in dims),
            "unit": _read_spacing_unit(img, dims, steps),
        }


def _build_monai_affine(img: Any) -> np.ndarray:
    """Return the 4×4 affine of the index in the order of the array: RAS for volumes, CRS for rasters."""
    if "volume_ref" in img.coords:
        return np.asarray(LPS_TO_RAS @ affine(img))
    matrix = np.eye(4)
    numbers = geo_transform(img) if {"y", "x"} <= set(spatial_dims(img)) else None
    if numbers is not None:
        x0, a, b, y0, d, e = numbers
        matrix[:2, :2] = [[b, a], [e, d]]  # rows: world x, y; columns: index y, x
        matrix[:2, 3] = [x0 + (a + b) / 2, y0 + (d + e) / 2]
    return matrix


def _read_spacing_unit(img: Any, dims: Sequence[Any], steps: Mapping[Any, float]) -> str:
    """Return the unit of the spacing; empty where an axis has none or its unit is unknown."""
    return spacing_unit(img, dims[-1]) if len(steps) == len(dims) else ""


class LoadScand(MapTransform):
    """Read the scan under a key with :class:`SrImagingReader`, of which `kept` is a part of the first axis.

    MONAI's ``LoadImaged`` would try its own readers where ours refuses a scan. Adds ``<key>_facts``: a dict
    with ``spacing`` and ``unit``; ``std``, the standard deviation of each channel's valid pixels; ``range``,
    their smallest and largest value; ``valid``, their number; ``values``, the units of the values that scan
    and ``lr`` state, with the path of ``lr``. The partners of a
    :class:`~sr_imaging.training.data.scan_list.TrainingScan` are added under ``lr`` and ``guide``: ``lr``
    cropped to the same area, with ``lr_scale``, its factor along each spatial axis; ``guide`` on the grid of
    the scan. Raises `ConfigError` if a value is refused, or partners do not show the same place.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        clip: tuple[float, float] | None = None,
        kept: tuple[float, float] = (0.0, 1.0),
        nan: str = "nodata",
        max_shift: float = 0.5,
    ) -> None:
        super().__init__(keys)
        self.clip = clip
        self.kept = kept
        self.nan = nan
        self.max_shift = max_shift
        self.reader = SrImagingReader()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace every path by a ``(C, [z,] y, x)`` float32 tensor."""
        out = dict(data)
        for key in self.key_iterator(out):
            scan = out[key] if isinstance(out[key], TrainingScan) else TrainingScan(out[key])
            hr, guide = self._read_checked(scan.hr), None
            units = {name: "" for name in _list_value_units(hr)}
            factors: tuple[int, ...] = (1,)
            try:
                if scan.guide is not None:
                    guide, hr = mean_on_grid(self._read_checked(scan.guide), hr)
                if scan.lr is not None:
                    hr, lr, factors = self._align_pair(scan, hr)
                    units = {name: scan.lr.path for name in _list_value_units(lr)} | units
                    out["lr"], out["lr_scale"] = self._keep_part(lr, 1, self.clip), factors
                if guide is not None:
                    guide, _ = mean_on_grid(guide, hr)  # what the pair has cropped
                    out["guide"] = self._keep_part(guide, factors[0], None)
            except GridError as error:
                raise ConfigError(f"{scan.path} and its partner do not fit: {error}") from error
            out[key] = self._keep_part(hr, factors[0], self.clip)
            out[f"{key}_facts"] = {**self._collect_facts(hr, out[key]), "values": units}
        return out

    def _read_checked(self, scan: Any) -> Any:
        """Return a scan as floats with NaN where it is invalid; refuse undeclared invalid values."""
        raw = read(scan)
        if raw.dtype.kind != "f":
            return mask_nodata(raw)
        raw = raw.load()
        values = mask_nodata(raw)
        nodata = raw.attrs.get("_FillValue")
        declared = np.zeros(raw.shape, dtype=bool)
        if nodata is not None:
            declared = np.isnan(raw.values) if np.isnan(nodata) else raw.values == raw.dtype.type(nodata)
        if "mask" in raw.coords:
            declared = declared | ~raw.coords["mask"].broadcast_like(raw).transpose(*raw.dims).values
        strange = ~np.isfinite(raw.values) & ~declared
        if self.nan == "refuse" and strange.any():
            count, endless = int(strange.sum()), int(np.isinf(raw.values[strange]).sum())
            what = f"{count - endless} NaN and {endless} infinite values" if endless else f"{count} NaN"
            raise ConfigError(
                f"{getattr(scan, 'path', scan)} has {what} that it does not declare as nodata; "
                "correct it, or set data.nan = 'nodata' to leave them out"
            )
        return values

    def _align_pair(self, scan: TrainingScan, hr: Any) -> tuple[Any, Any, tuple[int, ...]]:
        """Place the LR scan over the HR one, and check that their contents agree with that."""
        pair = aligned_pair(hr, self._read_checked(scan.lr))
        if max(map(abs, pair.offset)) > _OFF_GRID:
            raise ConfigError(
                f"the grid of {scan.lr.path} lies {_join_numbers(pair.offset)} LR pixels off the blocks of "
                f"{scan.path}; resample one of them onto the other's grid"
            )
        shift = pair.shift()
        if max(map(abs, shift)) > self.max_shift:
            raise ConfigError(
                f"the contents of {scan.lr.path} lie {_join_numbers(shift)} LR pixels off those of "
                f"{scan.path}, more than data.max_shift {self.max_shift:g}; register them first"
            )
        return pair.fine, pair.coarse, pair.scale

    def _keep_part(self, da: Any, block: int, clip: tuple[float, float] | None) -> Tensor:
        """Return the kept part, in whole blocks along the first axis, as a tensor."""
        values = torch.from_numpy(self.reader.get_data(da)[0])
        whole = values.shape[1] // block
        first, last = (round(whole * fraction) * block for fraction in self.kept)
        values = values[:, first:last].clone()
        return values if clip is None else values.clamp(*clip)

    def _collect_facts(self, da: Any, values: Tensor) -> dict[str, Any]:
        """Return the facts of a scan and of its kept part."""
        steps, dims = spacing(da), [*spatial_dims(da).values()]
        return {
            "spacing": tuple(float(steps.get(dim, 1.0)) for dim in dims),
            "unit": _read_spacing_unit(da, dims, steps),
            "std": _measure_deviations(values),
            "range": _find_value_range(values),
            "valid": int(torch.isfinite(values).sum()),
        }


def _list_value_units(da: Any) -> list[str]:
    """Return the unit of the values, where an array states one."""
    unit = da.attrs.get("units", "")
    return [unit] if isinstance(unit, str) and unit else []


def _join_numbers(numbers: Sequence[float]) -> str:
    """Return the numbers of the axes as text."""
    return ", ".join(f"{number:.3g}" for number in numbers)


def _find_value_range(values: Tensor) -> tuple[float, float] | None:
    """Return the smallest and largest valid pixel; None where there are none."""
    valid = values[torch.isfinite(values)]
    return (float(valid.min()), float(valid.max())) if valid.numel() else None


def _measure_deviations(values: Tensor) -> list[float]:
    """Return the standard deviation of the valid pixels of each channel; 0 where there are none."""
    valid = torch.isfinite(values)
    found = []
    for channel, keep in zip(values, valid, strict=True):
        pixels = channel[keep].double()
        found.append(float(pixels.std(correction=0)) if pixels.numel() else 0.0)
    return found
