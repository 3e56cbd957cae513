"""The demo: real scans made coarser and super-resolved, so that the truth is at hand; and made finer."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.batch.inputs import Found, find_inputs
from sr_imaging.batch.task import steps_text
from sr_imaging.degradation.arrays import degrade
from sr_imaging.errors import GridError, ModelError, ReadError, SrImagingError
from sr_imaging.evaluation.figures.drawing import draw
from sr_imaging.evaluation.figures.scan_rows import picture_row
from sr_imaging.evaluation.metrics.pixels import data_range, psnr
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.pixel_spacing import spacing as grid_spacing
from sr_imaging.inference.model_choice import THICK, choose
from sr_imaging.inference.upscaling import upscale
from sr_imaging.io import find_scans, read, write
from sr_imaging.io.scan import Scan
from sr_imaging.models.model_file import list_models
from sr_imaging.networks import CLASSICAL

from .samples import SAMPLES_NOTE, write_samples

__all__ = ["Comparison", "Demo", "run_demo"]

_LARGEST = {"raster": {"y": 512, "x": 512}, "volume": {"z": 128, "y": 192, "x": 192}}  # pixels compared

log = logging.getLogger(__name__)


@dataclass
class Comparison:
    """One scan, coarse, by every model, and as it was.

    Parameters
    ----------
    name : str
        Of the scan.
    lr : DataArray
        What was super-resolved.
    truth : DataArray, optional
        The original on the fine grid; None for a scan that was made finer than it ever was.
    results : dict
        By model, cubic first.
    seconds, db : dict
        By model: time, and PSNR in dB against the truth.
    outputs : list of Path
        What was written.
    """

    name: str
    lr: xr.DataArray
    truth: xr.DataArray | None
    results: dict[str, xr.DataArray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    db: dict[str, float] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)

    @property
    def grid(self) -> str:
        """Shape before and after."""
        fine = next(iter(self.results.values()))
        return " -> ".join("x".join(map(str, da.shape)) for da in (self.lr, fine))

    @property
    def steps(self) -> str:
        """Spacing before and after, of the refined dims; empty where the scan states none."""
        fine = grid_spacing(next(iter(self.results.values())))
        return steps_text(grid_spacing(self.lr), fine, _unit(self.lr))


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Parameters
    ----------
    comparisons : tuple of Comparison
        One a scan.
    picture : Path
        PNG of all of them.
    left_out : dict
        Reasons by scan.
    note : str
        What to bear in mind with these scans.
    """

    comparisons: tuple[Comparison, ...]
    picture: Path
    left_out: dict[str, str]
    note: str = ""


def run_demo(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> Demo:
    """Compare the bundled models on real scans, and make the scans finer.

    Parameters
    ----------
    paths : sequence of path
        Your scans; none for those that other packages carry.
    output : path
        Folder for the samples, the results and ``demo.png``; what is there of an earlier demo is replaced.
    device : str
        As in :func:`sr_imaging.upscale`.
    tell : callable, optional
        Told what is being done, in a few words.

    Returns
    -------
    Demo

    Raises
    ------
    ConfigError
        If no scans are given and a package that carries some is not installed.
    ReadError
        If no scan can be read.
    """
    output = Path(output)
    say = tell or log.info
    note = "" if paths else SAMPLES_NOTE
    if not paths:
        say("writing the sample scans")
        paths = write_samples(output / "input")
    made: list[Comparison] = []
    left_out: dict[str, str] = {}
    for found in find_inputs(paths):
        try:
            made.append(_demonstrate(found, output, device, say))
        except (SrImagingError, OSError, ValueError) as error:
            left_out[found.label] = str(error)
    if not made:
        raise ReadError("; ".join(left_out.values()) or "there are no scans; give files or folders")
    picture = draw([_row(one) for one in made], output / "demo.png")
    return Demo(tuple(made), picture, left_out, note)


def _demonstrate(found: Found, output: Path, device: str, say: Callable[[str], None]) -> Comparison:
    """Compare the models of a scan's kind, and write what they make of it."""
    scan = found.scan
    if not scan.verdict.ok:
        raise ReadError(scan.verdict.reason)
    whole = read(scan)
    models = _models(whole)
    da = _crop(whole)
    factors = _factors(da, models[0])
    lr, truth = _coarser(da, factors)
    name = found.place.name.split(".")[0]
    source: Scan | None = scan if scan.kind == "dicom" and truth is None else None
    if truth is not None and "z" in spatial_dims(da):
        say(f"{name}: slices of {grid_spacing(lr)[spatial_dims(lr)['z']]:.3g} mm")
        source = _as_series(lr, output / f"{name}-thick")
        lr = read(source)
    say(f"{name}: cubic, {', '.join(models)}")
    done = _compared(name, lr, truth, factors, models, device=device)
    for model in models:
        say(f"{name}: writing the result of {model}")
        small = truth is not None and "z" in spatial_dims(da)
        finer = done.results[model] if small else upscale(whole, model, device=device)
        if "z" in spatial_dims(da):
            done.outputs.append(_write_volume(finer, output / f"{name}-{model}", source))
        else:
            target = output / f"{name}-{model}{'.zarr' if scan.kind == 'zarr' else '.tif'}"
            done.outputs.append(write(finer, target, overwrite=True))
    return done


def _models(da: xr.DataArray) -> list[str]:
    """The bundled models for a scan, the pixel-trained one first."""
    base = "raster-x2"
    if "z" in spatial_dims(da):
        attrs = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
        base = "ct-through-x4" if attrs.get("modality") == "CT" else "mr-through-x4"
    names = [card.name for card in list_models() if card.name in (base, f"{base}-gan")]
    if base not in names:
        raise ModelError(f"the model {base} is not bundled with this installation; install it again")
    return sorted(names, key=len)


def _factors(da: xr.DataArray, model: Any) -> dict[Any, int]:
    """What a model does to the dims of an array."""
    return {dim: s for dim, s in choose(da, model, None, None).model_scale.items() if s > 1}


def _crop(da: xr.DataArray) -> xr.DataArray:
    """The middle of a scan, small enough to be compared in seconds; leading dims at their first place."""
    dims = spatial_dims(da)
    most = _LARGEST["volume" if "z" in dims else "raster"]
    window = {}
    for axis, dim in dims.items():
        size = min(most[axis], da.sizes[dim])
        start = (da.sizes[dim] - size) // 2
        window[dim] = slice(start, start + size)
    lead = [dim for dim in da.dims if dim not in dims.values()]
    first = {dim: 0 for dim in (lead if "z" in dims else lead[:-1])}
    return da.isel({**window, **first}).load()


def _coarser(da: xr.DataArray, factors: dict[Any, int]) -> tuple[xr.DataArray, xr.DataArray | None]:
    """A coarser scan and its truth; a scan whose slices are thick already is taken as it is."""
    dims, steps = spatial_dims(da), grid_spacing(da)
    through = list(factors) == [dims.get("z")] and all(dim in steps for dim in dims.values())
    if through and steps[dims["z"]] >= THICK * max(steps[dims["y"]], steps[dims["x"]]):
        return da, None
    sizes = {dim: da.sizes[dim] // s * s for dim, s in factors.items()}
    if any(size < 4 * factors[dim] for dim, size in sizes.items()):
        raise GridError(f"shape {da.shape} is too small to be made {max(factors.values())} times coarser")
    truth = da.isel({dim: slice(0, size) for dim, size in sizes.items()})
    return degrade(truth, factors), truth


def _compared(
    name: str,
    lr: xr.DataArray,
    truth: xr.DataArray | None,
    factors: dict[Any, int],
    models: Sequence[Any],
    *,
    device: str,
) -> Comparison:
    """Run cubic interpolation and the models on a coarse scan."""
    made = Comparison(name, lr, truth)
    scale = {dim: float(s) for dim, s in factors.items()}
    for model in ["cubic", *(model for model in models if model != "cubic")]:
        began = time.perf_counter()
        finer = upscale(lr, model, scale=scale if model in CLASSICAL else None, device=device)
        key = Path(model).stem
        made.results[key] = finer
        made.seconds[key] = time.perf_counter() - began
        if truth is not None:
            made.db[key] = _psnr(finer, truth)
    return made


def _psnr(sr: xr.DataArray, hr: xr.DataArray) -> float:
    """PSNR over valid pixels, in the robust range of the truth."""
    values, wanted = sr.values, hr.transpose(*sr.dims).values
    valid = np.isfinite(values) & np.isfinite(wanted)
    fill = hr.attrs.get("_FillValue")
    if fill is not None:
        valid &= (wanted != fill) & (values != fill)
    return psnr(values, wanted, data_range=data_range(wanted, valid=valid), valid=valid)


def _as_series(lr: xr.DataArray, folder: Path) -> Scan:
    """Write a volume as a new DICOM series where its modality is known, else as NIfTI, and find it again."""
    path = _write_volume(lr, folder, None)
    return find_scans(path)[0]


def _write_volume(da: xr.DataArray, folder: Path, source: Scan | None) -> Path:
    """Write a volume: DICOM, derived from `source`, where the modality is known, else NIfTI."""
    attrs = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
    if attrs.get("modality") not in ("CT", "MR"):
        return write(da, folder.with_name(f"{folder.name}.nii.gz"), overwrite=True)
    series = source if source is not None and source.kind == "dicom" else None
    return write(da, folder, source=series, format="dicom", overwrite=True)


def _row(one: Comparison) -> Any:
    """The pictures of a comparison."""
    labels = {"input": f"input {'x'.join(map(str, _plane_shape(one.lr)))}", "truth": "truth"}
    for name in one.results:
        db = f"  {one.db[name]:.2f} dB" if name in one.db else ""
        labels[name] = name + db
    title = f"{one.name}    {one.steps or one.grid}".replace("->", "→")
    return picture_row(title, one.lr, one.results, one.truth, labels)


def _plane_shape(da: xr.DataArray) -> list[int]:
    return [da.sizes[dim] for dim in spatial_dims(da).values()]


def _unit(da: xr.DataArray) -> str:
    """Unit of the spatial dims with a space before it; millimetres in a volume."""
    if "volume_ref" in da.coords:
        return " mm"
    dim = spatial_dims(da)["x"]
    unit = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    unit = {"metre": "m", "degrees_east": "°"}.get(unit, unit)
    return f" {unit}" if unit else ""
