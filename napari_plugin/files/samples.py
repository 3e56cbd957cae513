"""Sample images that come with Python packages, so that no network is needed."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from napari_plugin.files.readers import LayerData, layer_of
from napari_plugin.north_up import open_north_up
from sr_imaging import ReadError, read

__all__ = ["ct_slice", "sentinel", "thick_slices"]

_SENTINEL_SPACING_M = 10.0
_SLICES_TOGETHER = 4  # slices of 1 mm that make a thick one


def ct_slice() -> list[LayerData]:
    """Return a CT slice with pixels of 0.66 mm, from pydicom's test files."""
    path = _find_file("pydicom", "data/test_files/CT_small.dcm")
    return [layer_of(read(path), name="CT slice", source={"path": str(path)})]


def sentinel() -> list[LayerData]:
    """Return four bands of Sentinel-2 at 10 m, from spyndex; not georeferenced, so they start at 0, 0."""
    import xarray as xr

    stored = json.loads(_find_file("spyndex", "data/S2_10m.json").read_text(encoding="utf-8"))
    values = np.array(stored, dtype=np.uint16)
    da = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": ["B02", "B03", "B04", "B08"]})
    rows, columns = values.shape[-2:]
    y = (rows - 0.5 - np.arange(rows)) * _SENTINEL_SPACING_M
    x = (np.arange(columns) + 0.5) * _SENTINEL_SPACING_M
    da = da.assign_coords(y=("y", y, {"units": "m"}), x=("x", x, {"units": "m"}))
    open_north_up()
    return [layer_of(da, name="Sentinel-2")]


def thick_slices() -> list[LayerData]:
    """Return the T1 template MNI152 of nilearn, as it is and with its slices averaged to 4 mm."""
    path = _find_file("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    fine = read(path)
    thick = fine.coarsen(z=_SLICES_TOGETHER, boundary="trim").mean(keep_attrs=True).round().astype(fine.dtype)
    world = fine.coords["volume_ref"]
    spacing = (world.attrs["spacing"][0] * _SLICES_TOGETHER, *world.attrs["spacing"][1:])
    thick = thick.assign_coords(volume_ref=world.assign_attrs(spacing=spacing))
    return [
        layer_of(fine, name="T1, 1 mm", source={"path": str(path)}),
        layer_of(thick, name="T1, slices of 4 mm"),
    ]


def _find_file(package: str, name: str) -> Path:
    """Return a file that a package brings along; raises ReadError without that package."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        if (path := Path(folder) / name).is_file():
            return path
    raise ReadError(f"this sample comes with {package}; install it with pip install 'sr-imaging[samples]'")
