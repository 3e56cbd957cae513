"""What a batch will do, decided before any work: model, grids, outputs, room on disk and in memory."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

from sr_imaging.errors import ConfigError, ResourceError, SrImagingError, WriteError
from sr_imaging.image.grid.axes import AXES, fine_size
from sr_imaging.image.grid.pixel_spacing import spacing as grid_spacing
from sr_imaging.inference.model_choice import Choice, choose
from sr_imaging.inference.provenance import model_sha256
from sr_imaging.inference.tiling.engine import make_engine
from sr_imaging.io import read
from sr_imaging.io.scan import Scan
from sr_imaging.models.model_file import load_model
from sr_imaging.networks import CLASSICAL

from .inputs import Found, drop_label, find_inputs, find_one_scan
from .journal import Journal, fingerprint
from .output_names import anonymise, check_names, choose_format, drop_outputs, is_output_file, name_outputs
from .task import BatchOptions, Task

__all__ = ["Plan", "plan_batch", "size_text"]


@dataclass(frozen=True)
class Plan:
    """What a batch will do."""

    tasks: tuple[Task, ...]  # in the order of the inputs
    folder: Path  # of the outputs
    options: BatchOptions
    model: Any  # ``auto``, an interpolation, or the loaded model

    @property
    def disk_bytes(self) -> int:
        """Return the most bytes that the outputs may take."""
        return sum(task.disk_bytes for task in self.tasks if task.action == "run")

    @property
    def free_bytes(self) -> int:
        """Return the free bytes on the disk of the outputs."""
        return shutil.disk_usage(_find_existing(self.folder)).free

    def check(self) -> None:
        """Raise where the plan meets outputs that it may not replace, or cannot fit.

        ConfigError if outputs exist and the options do not say what becomes of them, WriteError if their
        folder cannot be written, ResourceError if the disk is too small for all outputs, or the memory for
        every scan.
        """
        if met := [task for task in self.tasks if task.action == "exists"]:
            raise ConfigError(
                f"{len(met)} of {len(self.tasks)} outputs exist, the first is {met[0].output}; "
                "give --resume, --if-exists skip or --if-exists overwrite"
            )
        if any(task.action == "run" for task in self.tasks):
            _check_writable(self.folder)
        if self.disk_bytes > self.free_bytes:
            raise ResourceError(
                f"the outputs take up to {size_text(self.disk_bytes)}, and {_find_existing(self.folder)} has "
                f"{size_text(self.free_bytes)} free; free some space or choose another folder"
            )
        large = [task for task in self.tasks if task.action == "fail" and task.memory_bytes]
        if large and not any(task.action == "run" for task in self.tasks):
            raise ResourceError(f"{large[0].found.label}: {large[0].cause}")


def plan_batch(
    inputs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], options: BatchOptions
) -> Plan:
    """Return what becomes of every scan; nothing is written.

    A scan that cannot be done has the action ``fail`` and its cause. Raises ConfigError if outputs would meet
    each other or an input, or an option is impossible, and ModelError if the model cannot be loaded.
    """
    output = Path(output)
    model = _load_model(options)
    found = find_inputs(inputs, on_missing=options.on_missing, on_tilt=options.on_tilt)
    found = drop_outputs(found, output)
    if options.deidentify:
        found = [anonymise(item) for item in found]
    tasks = [_plan_scan(item, model, options) for item in found]
    good = [k for k, task in enumerate(tasks) if task.action == "run"]
    outputs = _add_outputs([tasks[k] for k in good], output, options)
    for k, task in zip(good, outputs, strict=True):
        tasks[k] = task
    check_names([(task.output, task.found.label) for task in outputs if task.output], [f.scan for f in found])
    folder = output.parent if is_output_file(output) else output
    journal = Journal(folder) if options.resume else None
    settled = tuple(_settle(task, journal, options.existing) for task in tasks)
    return Plan(settled, folder, options, model)


def _load_model(options: BatchOptions) -> Any:
    """Return the model, loaded once, and try the options that hold for all scans."""
    model: Any = options.model
    if model != "auto" and model not in CLASSICAL:
        model = load_model(model)
    if options.guide is not None:
        find_one_scan(options.guide)
    probe: Any = load_model("nearest", scale=(1, 1))
    device = "cpu" if options.cluster else options.device  # a cluster has its own
    make_engine(probe, replace(options.engine_settings, device=device, tile=None))
    return model


def _plan_scan(item: Found, model: Any, options: BatchOptions) -> Task:
    """Return the plan of one scan, without its output."""
    scan = item.scan
    if not scan.verdict.ok:
        cause = "; ".join((scan.verdict.reason, *scan.verdict.notes))
        return Task(item, "fail", drop_label(cause, item.label))
    if options.deidentify and scan.kind != "dicom":
        cause = f"only DICOM series can be de-identified, not {scan.kind}; leave --deidentify out"
        return Task(item, "fail", cause)
    try:
        da = _outline_scan(scan)
        choice = choose(da, model, options.scale, options.spacing)
    except (SrImagingError, OSError, ValueError) as error:
        return Task(item, "fail", drop_label(str(error), item.label))
    if bool(getattr(choice.generator, "guide_channels", 0)) != (options.guide is not None):
        needs = "takes no guide; leave --guide out" if options.guide else "takes a guide; add --guide FILE"
        return Task(item, "fail", f"{choice.name} {needs}")
    task = _add_grid(Task(item), da, choice, options)
    free = psutil.virtual_memory().available
    if task.memory_bytes > free and options.cluster is None:
        cause = (
            f"needs about {size_text(task.memory_bytes)} of memory, {size_text(free)} are free; "
            "convert it to Zarr, which is read in parts, or use a larger machine"
        )
        return replace(task, action="fail", cause=cause)
    return task


def _outline_scan(scan: Scan) -> xr.DataArray:
    """Return an array of the shape, grid and modality of a scan, without its pixels."""
    if scan.kind in ("zarr", "netcdf"):
        return read(scan)
    flat = scan.kind in ("geotiff", "raster")
    axes = min(len(scan.shape), 2 if flat else 3)
    dims = AXES[-axes:]
    names = (*(f"dim_{k}" for k in range(len(scan.shape) - axes)), *dims)
    dtype = np.dtype(scan.facts.get("dtype") or "int16")
    data = np.broadcast_to(np.zeros((), dtype), scan.shape)
    steps = dict(zip(dims[-len(scan.spacing) :], scan.spacing, strict=True)) if scan.spacing else {}
    coords: dict[str, Any] = {
        dim: np.arange(scan.shape[names.index(dim)]) * step for dim, step in steps.items()
    }
    world = {
        "spacing": tuple(steps.get(dim, 1.0) for dim in AXES),
        "modality": scan.modality or "",
    }
    if flat:
        world = {"GeoTransform": f"0 {steps.get('x', 1)} 0 0 0 {-steps.get('y', 1)}"}
    if steps:
        coords["spatial_ref" if flat else "volume_ref"] = ((), 0, world)
    return xr.DataArray(data, dims=names, coords=coords)


def _add_grid(task: Task, da: xr.DataArray, choice: Choice, options: BatchOptions) -> Task:
    """Return a task with what the model does to the grid."""
    fine = {dim: fine_size(n, choice.scale.get(dim, 1)) for dim, n in da.sizes.items()}
    steps = grid_spacing(da)
    scale = {str(dim): float(s) for dim, s in choice.scale.items()}
    asked: dict[str, Any] = {
        "seed": options.seed,
        "precision": options.precision,
        "device": options.device,
        **({"deidentify": True} if options.deidentify else {}),
        **({"guide": fingerprint(find_one_scan(options.guide))} if options.guide else {}),
    }
    return replace(
        task,
        model=choice.name,
        model_sha256=model_sha256(choice.generator),
        dims=tuple(map(str, da.dims)),
        shape=da.shape,
        fine_shape=tuple(fine.values()),
        spacing={str(dim): step for dim, step in steps.items()},
        fine_spacing={str(dim): step / choice.scale.get(dim, 1) for dim, step in steps.items()},
        nbytes=da.size * da.dtype.itemsize,
        fine_nbytes=prod(fine.values()) * da.dtype.itemsize,
        parameters={"scale": scale, **asked},
        generator=choice.generator,
    )


def _format_scale(task: Task) -> str:
    """Return a scale for a file name: one number where the refined axes agree."""
    scale = {dim: s for dim, s in task.parameters["scale"].items() if s != 1}
    if len(set(scale.values())) == 1 and set(scale) != {"z"}:
        return f"{next(iter(scale.values())):g}"
    return "x".join(f"{dim}{s:g}" for dim, s in scale.items()) or "1"


def _add_outputs(tasks: Sequence[Task], output: Path, options: BatchOptions) -> list[Task]:
    """Return tasks with outputs, in the format asked for, that of a file's suffix, or that of the input."""
    if not tasks:
        return []
    kinds = [options.format or choose_format(output, task.found.scan.kind) for task in tasks]
    paths = name_outputs(
        [task.found for task in tasks],
        output,
        formats=kinds,
        template=options.name,
        fields=[{"scale": _format_scale(task), "model": task.model} for task in tasks],
    )
    return [
        replace(task, output=path, format=kind, parameters={**task.parameters, "format": kind})
        for task, path, kind in zip(tasks, paths, kinds, strict=True)
    ]


def _settle(task: Task, journal: Journal | None, existing: str) -> Task:
    """Return a task with what becomes of an output that exists."""
    output = task.output
    if task.action != "run" or output is None or not os.path.lexists(output):
        return task
    try:
        if journal is not None and journal.is_up_to_date(output, task.hashes()):
            return replace(task, action="up to date")
    except OSError as error:
        return replace(task, action="fail", cause=f"cannot read it: {error}; check the disk")
    if existing == "overwrite":
        return task
    if existing == "skip":
        return replace(task, action="skip", cause="the output exists")
    return replace(task, action="exists")


def _check_writable(folder: Path) -> None:
    """Raise WriteError where a folder is a file, or no file can be made in it."""
    place = _find_existing(folder)
    if not place.is_dir():
        raise WriteError(f"{place} is a file, not a folder; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise WriteError(f"cannot write into {place}; choose a folder you may write to")


def _find_existing(path: Path) -> Path:
    """Return a path where it exists, else the nearest folder above it that does."""
    path = path.absolute()
    while not os.path.exists(path):
        path = path.parent
    return path


def size_text(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, _ = value / 1000, units.pop(0)
    return f"{value:.3g} {units[0]}"
