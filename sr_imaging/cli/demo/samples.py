"""Real images that other packages contain, so that the demo needs no network."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray as xr

from sr_imaging.errors import ConfigError, ReadError
from sr_imaging.io import find_scans, read, write

__all__ = ["SAMPLES_NOTE", "brain", "relief", "scene", "write_samples"]

_BRAIN = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_SCENE = "data/S2_10m.json"
_RELIEF = "mpl-data/sample_data/jacksboro_fault_dem.npz"
SAMPLES_NOTE = (
    "Nine tenths of the Sentinel-2 scene were in the training of raster-x2; relief and brain were in none."
)
_WGS84 = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]'
)


def write_samples(folder: Path) -> list[Path]:
    """Write the sample images to a folder, replacing earlier ones, and return their paths.

    They are ``sentinel2-10m.tif``, ``elevation-3s.tif`` and ``mni152-1mm.nii.gz``. Raises ConfigError if a
    package that contains one is not installed.
    """
    images = {"sentinel2-10m.tif": scene, "elevation-3s.tif": relief, "mni152-1mm.nii.gz": brain}
    arrays = {name: make() for name, make in images.items()}
    return [write(da, folder / name, overwrite=True) for name, da in arrays.items()]


def brain() -> xr.DataArray:
    """Return the middle of the ICBM 152 average T1 brain, 1 mm, from nilearn: (112, 176, 144) uint8, MR.

    V. Fonov et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 54, 2011.
    """
    (scan,) = find_scans(_find_inside("nilearn", _BRAIN))
    whole = read(scan)
    reference = whole.coords["volume_ref"]
    whole = whole.assign_coords(volume_ref=reference.assign_attrs(modality="MR"))
    middle = {"z": slice(40, 152), "y": slice(30, 206), "x": slice(26, 170)}
    return whole.isel(middle)


def scene() -> xr.DataArray:
    """Return a scene of Sentinel-2 with the four bands of 10 m, from spyndex: (4, 300, 300) uint16.

    Reflectance times 10,000. The package does not say where it lies: metres count from its corner.
    """
    path = _find_inside("spyndex", _SCENE)
    try:
        values = np.asarray(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot read {path}: {error}; install spyndex again") from error
    names = ("B2 blue", "B3 green", "B4 red", "B8 near infrared")
    rows, columns = values.shape[1:]
    return xr.DataArray(
        values.round().astype(np.uint16),
        dims=("band", "y", "x"),
        coords={
            "band": np.arange(1, len(names) + 1),
            "y": ("y", (rows - 0.5 - np.arange(rows)) * 10.0, {"units": "m"}),
            "x": ("x", (0.5 + np.arange(columns)) * 10.0, {"units": "m"}),
        },
        attrs={"long_name": names, "source": "modified Copernicus Sentinel data, from spyndex"},
    )


def relief() -> xr.DataArray:
    """Return the elevation around Jacksboro, Tennessee, at 3 seconds of arc, from matplotlib.

    (344, 403) int16, metres, in EPSG:4326.
    """
    path = _find_inside("matplotlib", _RELIEF)
    with zipfile.ZipFile(path) as archive:
        found = {name: _read_array(archive, name) for name in ("elevation", "xmin", "ymin", "dx", "dy")}
    rows, columns = found["elevation"].shape
    # in the file "ymin" is the northern edge: rows count southward from it
    lat = float(found["ymin"]) - float(found["dy"]) * (np.arange(rows) + 0.5)
    lon = float(found["xmin"]) + float(found["dx"]) * (np.arange(columns) + 0.5)
    return xr.DataArray(
        found["elevation"],
        dims=("y", "x"),
        coords={"y": lat, "x": lon, "spatial_ref": ((), 0, {"crs_wkt": _WGS84})},
        attrs={"long_name": "elevation", "units": "m", "source": "USGS, from matplotlib"},
    )


def _find_inside(package: str, inner: str) -> Path:
    """Return the path of a file inside an installed package, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"the demo shows images that {package} contains, which is not installed; "
            "pip install 'sr-imaging[samples]', or give your own scans"
        )
    path = Path(spec.submodule_search_locations[0]) / inner
    if not path.is_file():
        raise ConfigError(f"this version of {package} has no {inner}; install another, or give scans")
    return path


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return an array of an npz file."""
    with archive.open(f"{name}.npy") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
