"""Derived series as the tests make them, and what dciodvfy says of a file."""

import re
import subprocess
from pathlib import Path

import numpy as np
import xarray as xr
from pydicom import Dataset, dcmread

from sr_imaging.image.grid.axes import fine_centres
from sr_imaging.image.grid.reference import axis_step
from sr_imaging.image.grid.refinement import refine
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series
from sr_imaging.io.scan import Scan

FACTS = {
    "sr_model": "ct-through-x4",
    "sr_model_sha256": "0123456789abcdef" * 4,
    "sr_version": "0.1.0",
    "sr_scale": "4 1 1",
    "sr_precision": "float32",
    "sr_device": "cpu",
}


def scan_of(folder: Path) -> Scan:
    scans, _ = find_series(folder.iterdir())
    assert len(scans) == 1
    return scans[0]


def refined(da: xr.DataArray, scale: int = 4) -> xr.DataArray:
    """The volume on a grid of finer slices, values linear between the old ones."""
    centres = fine_centres(da.z.values, scale, axis_step(da, "z"))
    place = np.interp(centres, da.z.values, np.arange(da.sizes["z"]))
    low = np.floor(place).astype(int).clip(0, max(da.sizes["z"] - 2, 0))
    weight = (place - low)[:, None, None]
    high = (low + 1).clip(0, da.sizes["z"] - 1)
    values = da.values[low] * (1 - weight) + da.values[high] * weight
    fill = da.attrs.get("_FillValue")
    if fill is not None:
        values[(da.values[low] == fill) | (da.values[high] == fill)] = fill
    dtype = da.dtype
    data = (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)
    return refine(da, data, {"z": scale}).assign_attrs(FACTS)


def derive(folder: Path, *, scale: int = 4) -> tuple[xr.DataArray, Scan, list[Dataset]]:
    """Write the refined series of `folder/in` to `folder/out`."""
    source = scan_of(folder / "in")
    fine = refined(read_series(source), scale)
    write_series(fine, folder / "out", source)
    return fine, source, [dcmread(path) for path in sorted((folder / "out").iterdir())]


def dciodvfy_errors(path: Path) -> set[str]:
    """Errors of a file; an illegal identifier is one error, wherever it is repeated as a reference."""
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    return {re.sub(r'(Illegal root for UID - "[^"]*").*', r"\1", line) for line in lines}
