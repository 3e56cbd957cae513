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
from sr_imaging.image.grid.axes import AXES, spatial_dims
from sr_imaging.image.grid.pixel_spacing import has_thick_slices
from sr_imaging.image.grid.pixel_spacing import spacing as grid_spacing
from sr_imaging.inference.model_choice import choose
from sr_imaging.inference.upscaling import upscale
from sr_imaging.io import find_scans, read, write
from sr_imaging.io.scan import Scan
from sr_imaging.models.model_file import list_models

from .samples import SAMPLES_NOTE, write_samples

__all__ = ["Comparison", "Demo", "run_demo"]

log = logging.getLogger(__name__)

_LARGEST = {"raster": {"y": 512, "x": 512}, "volume": {"z": 128, "y": 192, "x": 192}}  # pixels compared


@dataclass
class Comparison:
    """One scan, coarse, by every model, and as it was."""

    name: str  # of the scan
    lr: xr.DataArray  # what was super-resolved
    truth: xr.DataArray | None  # the original on the fine grid; None for a scan refined as it is
    results: dict[str, xr.DataArray] = field(default_factory=dict)  # by model, cubic first
    seconds: dict[str, float] = field(default_factory=dict)  # by model
    db: dict[str, float] = field(default_factory=dict)  # PSNR against the truth, by model
    outputs: list[Path] = field(default_factory=list)

    @property
    def grid(self) -> str:
        """Return the shape before and after."""
        fine = next(iter(self.results.values()))
        return " -> ".join("x".join(map(str, da.shape)) for da in (self.lr, fine))

    @property
    def steps(self) -> str:
        """Return the spacing before and after, of the refined dims; empty where the scan states none."""
        fine = grid_spacing(next(iter(self.results.values())))
        return steps_text(grid_spacing(self.lr), fine, _format_unit(self.lr))


@dataclass(frozen=True)
class Demo:
    """What the demo made."""

    comparisons: tuple[Comparison, ...]
    picture: Path  # PNG of all of them
    left_out: dict[str, str]  # reasons by scan
    note: str = ""  # what to bear in mind with these scans


def run_demo(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    device: str = "auto",
    say: Callable[[str], None] = log.info,
) -> Demo:
    """Compare the bundled models on real scans, make the scans finer, and draw ``demo.png`` in `output`.

    Without `paths` the scans are those that other packages contain. Earlier results in `output` are replaced.
    `say` is called with a few words on what is being done. Raises ConfigError if a package with samples is
    not installed, ReadError if no scan can be read.
    """
    output = Path(output)
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
    picture = draw([_make_row(one) for one in made], output / "demo.png")
    return Demo(tuple(made), picture, left_out, note)


def _demonstrate(found: Found, output: Path, device: str, say: Callable[[str], None]) -> Comparison:
    """Compare the models of a scan's kind, and write what they make of it."""
    scan = found.scan
    if not scan.verdict.ok:
        raise ReadError(scan.verdict.reason)
    whole = read(scan)
    models = _choose_models(whole)
    da = _crop_middle(whole)
    factors = {dim: s for dim, s in choose(da, models[0], None, None).model_scale.items() if s > 1}
    lr, truth = _make_coarser(da, factors)
    name = found.place.name.split(".")[0]
    source: Scan | None = scan if scan.kind == "dicom" and truth is None else None
    if truth is not None and "z" in spatial_dims(da):
        say(f"{name}: slices of {grid_spacing(lr)[spatial_dims(lr)['z']]:.3g} mm")
        source = find_scans(_write_volume(lr, output / f"{name}-thick", None))[0]
        lr = read(source)
    say(f"{name}: cubic, {', '.join(models)}")
    done = Comparison(name, lr, truth)
    _compare_models(done, factors, models, device)
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


def _choose_models(da: xr.DataArray) -> list[str]:
    """Return the names of the bundled models for a scan, the pixel-trained one first."""
    base = "raster-x2"
    if "z" in spatial_dims(da):
        attrs = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
        base = "ct-through-x4" if attrs.get("modality") == "CT" else "mr-through-x4"
    names = [card.name for card in list_models() if card.name in (base, f"{base}-gan")]
    if base not in names:
        raise ModelError(f"the model {base} is not bundled with this installation; install it again")
    return sorted(names, key=len)


def _crop_middle(da: xr.DataArray) -> xr.DataArray:
    """Return the middle of a scan, small enough to be compared in seconds; of leading dims the first."""
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


def _make_coarser(da: xr.DataArray, factors: dict[Any, int]) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Return a coarser scan and its truth; a scan whose slices are thick already, and None."""
    dims, steps = spatial_dims(da), grid_spacing(da)
    through = list(factors) == [dims.get("z")] and all(dim in steps for dim in dims.values())
    if through and has_thick_slices(*(steps[dims[axis]] for axis in AXES)):
        return da, None
    sizes = {dim: da.sizes[dim] // s * s for dim, s in factors.items()}
    if any(size < 4 * factors[dim] for dim, size in sizes.items()):
        raise GridError(
            f"shape {da.shape} is too small to be made {max(factors.values())} times coarser; "
            "give a larger scan"
        )
    truth = da.isel({dim: slice(0, size) for dim, size in sizes.items()})
    return degrade(truth, factors), truth


def _compare_models(made: Comparison, factors: dict[Any, int], models: Sequence[str], device: str) -> None:
    """Add the results of cubic interpolation and of the models to a comparison."""
    lr, truth = made.lr, made.truth
    scale = {dim: float(s) for dim, s in factors.items()}
    for model in ("cubic", *models):
        began = time.perf_counter()
        finer = upscale(lr, model, scale=scale if model == "cubic" else None, device=device)
        made.results[model] = finer
        made.seconds[model] = time.perf_counter() - began
        if truth is not None:
            made.db[model] = _measure_psnr(finer, truth)


def _measure_psnr(sr: xr.DataArray, hr: xr.DataArray) -> float:
    """Return the PSNR, in dB, over valid pixels, in the robust range of the truth."""
    values, wanted = sr.values, hr.transpose(*sr.dims).values
    valid = np.isfinite(values) & np.isfinite(wanted)
    fill = hr.attrs.get("_FillValue")
    if fill is not None:
        valid &= (wanted != fill) & (values != fill)
    return psnr(values, wanted, data_range=data_range(wanted, valid=valid), valid=valid)


def _write_volume(da: xr.DataArray, folder: Path, source: Scan | None) -> Path:
    """Write a volume: DICOM, derived from `source`, where the modality is known, else NIfTI."""
    attrs = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
    if attrs.get("modality") not in ("CT", "MR"):
        return write(da, folder.with_name(f"{folder.name}.nii.gz"), overwrite=True)
    series = source if source is not None and source.kind == "dicom" else None
    return write(da, folder, source=series, format="dicom", overwrite=True)


def _make_row(one: Comparison) -> Any:
    """Return the pictures of a comparison."""
    size = "x".join(str(one.lr.sizes[dim]) for dim in spatial_dims(one.lr).values())
    labels = {"input": f"input {size}", "truth": "truth"}
    for name in one.results:
        db = f"  {one.db[name]:.2f} dB" if name in one.db else ""
        labels[name] = name + db
    title = f"{one.name}    {one.steps or one.grid}".replace("->", "→")
    return picture_row(title, one.lr, one.results, one.truth, labels)


def _format_unit(da: xr.DataArray) -> str:
    """Return the unit of the spatial dims with a space before it; millimetres in a volume."""
    if "volume_ref" in da.coords:
        return " mm"
    dim = spatial_dims(da)["x"]
    unit = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    unit = {"metre": "m", "degrees_east": "°"}.get(unit, unit)
    return f" {unit}" if unit else ""
