"""How good a model is on scans: degrade each, super-resolve it, compare with the original, beside cubic."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, nan
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from . import geometry, io
from .degradation import NOISELESS, Noise, Psf, degrade
from .errors import ConfigError, GridError
from .infer import upscale
from .metrics import data_range, psnr, ssim
from .metrics_bands import sam
from .model_file import load_model
from .networks import CLASSICAL, PLANE_AXES, check_generator
from .transforms import views
from .validation import fill_invalid, upscale_image

__all__ = ["Report", "Row", "evaluate"]


@dataclass(frozen=True)
class Row:
    """Figures of one scan and one way to lay it under the model, beside those of cubic interpolation.

    Parameters
    ----------
    scan : str
        Name of the scan.
    axes : str
        Axes that were degraded and refined; for a through-plane model the axis that played z.
    range : float
        Data range for PSNR and SSIM: the 0.5 to 99.5 percentiles of the original.
    pixels : int
        Valid pixels.
    psnr, psnr_cubic, gain : float
        dB.
    ssim, ssim_cubic : float
        Mean over the slices.
    sam, sam_cubic : float
        Spectral angle in radians; NaN without several bands.
    consistency : float
        PSNR in dB of the degraded estimate against LR.
    """

    scan: str
    axes: str
    range: float
    pixels: int
    psnr: float
    psnr_cubic: float
    gain: float
    ssim: float
    ssim_cubic: float
    sam: float
    sam_cubic: float
    consistency: float


_FIGURES = tuple(f.name for f in fields(Row) if f.type is float and f.name != "range")


@dataclass(frozen=True)
class Report:
    """What :func:`evaluate` found.

    Parameters
    ----------
    model : str
        Name of the model.
    scale : tuple of float
        Its scale.
    degradation : str
        How LR was made.
    rows : tuple of Row
        One per scan and axis.
    """

    model: str
    scale: tuple[float, ...]
    degradation: str
    rows: tuple[Row, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each figure over the rows that have it."""
        means = {}
        for name in _FIGURES:
            values = [value for row in self.rows if isfinite(value := getattr(row, name))]
            means[name] = float(np.mean(values)) if values else nan
        return means

    def to_json(self) -> str:
        """Return the report as JSON; figures that do not exist are null."""
        whole = {**asdict(self), "mean": self.mean}
        return json.dumps(_without_nan(whole), indent=2)

    def table(self) -> str:
        """Return the report as a text table."""
        head = ["scan", "axes", "PSNR", "cubic", "gain", "SSIM", "cubic"]
        lines = [
            [row.scan, row.axes, *_decimals(row.psnr, row.psnr_cubic, row.gain, row.ssim, row.ssim_cubic)]
            for row in self.rows
        ]
        mean = self.mean
        keys = ("psnr", "psnr_cubic", "gain", "ssim", "ssim_cubic")
        lines.append(["mean", "", *_decimals(*(mean[key] for key in keys))])
        widths = [max(len(line[k]) for line in [head, *lines]) for k in range(len(head))]
        rows = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in [head, *lines]
        ]
        return "\n".join([f"{self.model}, scale {self.scale}, {self.degradation}", *map(str.rstrip, rows)])


def evaluate(
    model: str | os.PathLike[str] | torch.nn.Module,
    scans: Any,
    *,
    scale: int | Sequence[int] | None = None,
    psf: Psf | None = None,
    noise: Noise = NOISELESS,
    seed: int = 0,
    device: str = "auto",
) -> Report:
    """Measure a model on scans of full resolution, beside cubic interpolation on the same pixels.

    A through-plane model is measured with each fine axis of a volume playing z; where the other axes are not
    all fine, on the fine planes alone.

    Parameters
    ----------
    model : str, path or Generator
        Bundled name, model file, interpolation, or a module with the facts of a generator.
    scans : path, Scan, DataArray, or a list of them
        The originals; folders are searched.
    scale : int or tuple of int, optional
        Of an interpolation, whose scale is free; a number stands for y and x.
    psf : Psf, optional
        As in :func:`sr_imaging.degrade`: box along z, Gaussian along y and x by default.
    noise : Noise
        As in :func:`sr_imaging.degrade`.
    seed : int
        Of the noise.
    device : str
        As in :func:`sr_imaging.upscale`.

    Returns
    -------
    Report
        With ``rows``, ``mean``, ``to_json()`` and ``table()``.

    Raises
    ------
    ConfigError
        If there is nothing to measure, or `scale` is missing or not for this model.
    GridError
        If a scan has not the axes that the model works on.
    """
    generator, name = _generator(model, scale)
    test = _Test(psf, noise, seed, device)
    rows = []
    for label, da in _arrays(scans):
        for trial in _trials(label, da.astype(np.float32), generator):
            rows.append(_measure(trial, generator, test))
    if not rows:
        raise ConfigError("there are no readable scans to evaluate on; give files or folders")
    words = "box along z, Gaussian of 0.4 LR pixels along y and x" if psf is None else str(psf)
    noisy = "" if noise.kind == "none" else f", {noise}"
    return Report(name, tuple(generator.scale), f"{words}, area mean{noisy}", tuple(rows))


@dataclass(frozen=True)
class _Trial:
    """An original whose axes are named as the model needs them; `planes` where only (z, x) planes count."""

    scan: str
    axes: str
    hr: xr.DataArray
    planes: bool = False


@dataclass(frozen=True)
class _Test:
    """How every scan is treated."""

    psf: Psf | None
    noise: Noise
    seed: int
    device: str


def _generator(model: Any, scale: int | Sequence[int] | None) -> tuple[Any, str]:
    """Return the module and its name."""
    if isinstance(model, str | os.PathLike):
        if model in CLASSICAL and scale is None:
            raise ConfigError(
                f"the interpolation {model!r} has no scale of its own; give for example scale=2"
            )
        factors = (scale, scale) if isinstance(scale, int) else scale
        loaded: Any = load_model(model, scale=factors)
        return loaded, loaded.card.name
    check_generator(model)
    if scale is not None:
        raise ConfigError("a module has its own scale; leave scale out")
    card = getattr(model, "card", None)
    return model, type(model).__name__ if card is None else card.name


def _arrays(scans: Any) -> Iterator[tuple[str, xr.DataArray]]:
    """Names and arrays, one in memory at a time."""
    many = scans if isinstance(scans, list | tuple) else [scans]
    for one in many:
        if isinstance(one, xr.DataArray):
            yield str(one.name or "array"), one
            continue
        found = io.find_scans(one) if isinstance(one, str | os.PathLike) else [one]
        for scan in found:
            if scan.verdict.ok:
                yield scan.path.name, io.read(scan, masked=True).load()


def _trials(scan: str, da: xr.DataArray, generator: Any) -> Iterator[_Trial]:
    """Lay an original under the model in every way that makes sense."""
    dims = geometry.spatial_dims(da)
    axes = generator.axes
    if axes != PLANE_AXES:
        if not set(axes) <= set(dims):
            raise GridError(f"{scan} has dims {da.dims}, the model works on {axes}; choose other scans")
        yield _Trial(scan, ", ".join(axes), da)
        return
    if len(dims) != 3:
        raise GridError(f"{scan} has dims {da.dims}, the model needs a volume; choose other scans")
    volume = _plain(da, [*dims.values()])
    steps = geometry.spacing(da)
    pairs = views([steps.get(dim, 1.0) for dim in dims.values()], PLANE_AXES)
    fine = sorted({axis for pair in pairs for axis in pair})
    names = [*dims]
    for k in fine:
        others = [axis for axis in range(3) if axis != k]
        if all(axis in fine for axis in others):
            yield _Trial(scan, names[k], _laid(volume, k, *others))
            continue
        for plane in set(others) & set(fine):
            rest = next(axis for axis in others if axis != plane)
            yield _Trial(
                scan, f"{names[k]} in ({names[k]}, {names[plane]})", _laid(volume, k, rest, plane), True
            )


def _plain(da: xr.DataArray, dims: list[Any]) -> xr.DataArray:
    """The volume alone, without place in the world, z, y, x in this order and first of any time."""
    lead = {dim: 0 for dim in da.dims if dim not in dims}
    values = da.isel(lead).transpose(*dims)
    return xr.DataArray(values.values, dims=("z", "y", "x"))


def _laid(volume: xr.DataArray, *order: int) -> xr.DataArray:
    """The volume with its axes in another order, named z, y, x."""
    return xr.DataArray(np.ascontiguousarray(volume.values.transpose(order)), dims=("z", "y", "x"))


def _measure(trial: _Trial, generator: Any, test: _Test) -> Row:
    """Degrade, super-resolve, compare."""
    dims = geometry.spatial_dims(trial.hr)
    axes = ("z", "x") if generator.axes == PLANE_AXES else generator.axes
    factors = {dims[axis]: int(s) for axis, s in zip(axes, generator.scale, strict=True) if s > 1}
    lr = degrade(trial.hr, factors, psf=test.psf, noise=test.noise, seed=test.seed)
    hr = trial.hr.isel({dim: slice(0, lr.sizes[dim] * s) for dim, s in factors.items()})
    cubic = upscale(lr, "cubic", scale=factors)
    if trial.planes:
        sr = hr.copy(data=_upscale_planes(generator, lr.values))
    else:
        sr = upscale(lr, generator, device=test.device)
    valid = np.isfinite(hr.values) & np.isfinite(sr.values) & np.isfinite(cubic.values)
    span = data_range(hr.values, valid=valid)
    again = degrade(sr, factors, psf=test.psf)
    seen = np.isfinite(lr.values) & np.isfinite(again.values)
    own, other = (psnr(x.values, hr.values, data_range=span, valid=valid) for x in (sr, cubic))
    bands = hr.dims[0] not in dims.values() and hr.ndim == 3 and hr.shape[0] > 1
    return Row(
        scan=trial.scan,
        axes=trial.axes,
        range=span,
        pixels=int(valid.sum()),
        psnr=own,
        psnr_cubic=other,
        gain=own - other,
        ssim=_mean_ssim(sr.values, hr.values, valid, span),
        ssim_cubic=_mean_ssim(cubic.values, hr.values, valid, span),
        sam=sam(sr.values, hr.values, valid=valid) if bands else nan,
        sam_cubic=sam(cubic.values, hr.values, valid=valid) if bands else nan,
        consistency=psnr(again.values, lr.values, data_range=span, valid=seen),
    )


def _upscale_planes(generator: Any, lr: np.ndarray) -> np.ndarray:
    """Super-resolve the (z, x) planes of a volume, one at a time, where the generator is."""
    device = next((p.device for p in generator.parameters()), torch.device("cpu"))
    out = []
    for k in range(lr.shape[1]):
        plane = lr[:, k]
        valid = np.isfinite(plane)
        if not valid.any():
            out.append(np.full((round(plane.shape[0] * generator.scale[0]), plane.shape[1]), np.nan))
            continue
        filled = fill_invalid(plane, valid)
        offset, unit = generator.fixed_values or (filled.mean(), filled.std() or 1.0)
        image: Tensor = torch.from_numpy((filled - offset) / unit).float()[None, None]
        out.append(upscale_image(generator, image.to(device))[0] * unit + offset)
    return np.stack(out, axis=1)


def _mean_ssim(sr: np.ndarray, hr: np.ndarray, valid: np.ndarray, span: float) -> float:
    """Mean SSIM over 2-D slices of the last two axes; slices without a whole valid window do not count."""
    planes = [x.reshape(-1, *x.shape[-2:]) for x in (sr, hr, valid)]
    found = []
    for a, b, keep in zip(*planes, strict=True):
        try:
            found.append(ssim(a, b, data_range=span, valid=keep))
        except GridError:  # too small, or nodata everywhere
            continue
    return float(np.mean(found)) if found else nan


def _decimals(*values: float) -> list[str]:
    """Two decimals for dB, four for figures below one."""
    return [f"{v:.2f}" if k < 3 else f"{v:.4f}" for k, v in enumerate(values)]


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinity by null, which JSON has."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
