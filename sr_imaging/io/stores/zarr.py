"""DataArray to Zarr and back, lazily, with the coordinates and attrs of the contract unchanged."""

import json
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config
import dask.threaded
import numpy as np
import xarray as xr
from dask.base import get_scheduler
from dask.system import CPU_COUNT

from sr_imaging.errors import ReadError, WriteError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.refinement import STALE_ENCODING
from sr_imaging.io.scan import Scan

from .one_image import AS_STORED, read_store, scan_store

__all__ = ["read_zarr", "scan_zarr", "write_zarr"]

_CODECS = ("codecs", "compressor", "compressors", "filters", "serializer")  # of one version of the format


def scan_zarr(path: Path) -> Scan:
    """Describe a Zarr store by its metadata."""
    return scan_store(path, "zarr", _open_dataset)


def _open_dataset(path: Path) -> xr.Dataset:
    """Return the store as it is."""
    import zarr

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Object at .* is not recognized")  # foreign files in the store
            consolidated = _is_consolidated(path)
            return xr.open_dataset(path, engine="zarr", chunks={}, consolidated=consolidated, **AS_STORED)
    except (OSError, KeyError, ValueError, TypeError, zarr.errors.BaseZarrError) as error:
        cause = " ".join(str(error).split())
        remedy = "the Zarr store is damaged or of another kind"
        raise ReadError(f"cannot read {path}: {cause}; {remedy}") from error


def _is_consolidated(path: Path) -> bool:
    """Return whether the metadata of all arrays stand in one file."""
    if (path / ".zmetadata").is_file():
        return True
    root = path / "zarr.json"
    return root.is_file() and b'"consolidated_metadata"' in root.read_bytes()


def read_zarr(scan: Scan) -> xr.DataArray:
    """Return the image of a Zarr store lazily, as stored: packing is not applied."""
    return read_store(scan.path, _open_dataset)


def write_zarr(da: xr.DataArray, path: Path) -> None:
    """Write an array to a new folder, chunk by chunk, by as many workers as the scheduler has."""
    if da.dtype.kind not in "biuf":
        raise WriteError(f"values of {da.dtype} are not an image; convert them to numbers first")
    if not spatial_dims(da):
        raise WriteError(f"dims {da.dims} have no spatial dim; rename them to y and x first")
    plain = _even_chunks(da.copy(deep=False))
    plain.encoding = _drop_layout(da.encoding)
    plain.attrs = {key: _to_storable(value) for key, value in da.attrs.items()}
    for place in (plain.attrs, plain.encoding):
        if place.get("grid_mapping") not in plain.coords:  # a Dataset keeps it beside the image
            place.pop("grid_mapping", None)
    for name in plain.coords:
        coord = plain.coords[name]
        coord.encoding = _drop_layout(coord.encoding)
        coord.attrs = {key: _to_storable(value) for key, value in coord.attrs.items()}
        if coord.dtype.kind == "f":
            coord.encoding.setdefault("_FillValue", None)  # xarray would state NaN as nodata of all floats
    if da.dtype.kind == "f" and "_FillValue" not in plain.encoding and "_FillValue" not in plain.attrs:
        plain.encoding["_FillValue"] = None
    with _own_threads():
        plain.to_zarr(path, mode="w", consolidated=True, zarr_format=2)


@contextmanager
def _own_threads() -> Iterator[None]:
    """Wait for dask's threads where they write: after an error in one the others would still make files."""
    if get_scheduler() not in (None, dask.threaded.get) or dask.config.get("pool", None) is not None:
        yield
        return
    workers = dask.config.get("num_workers", None) or CPU_COUNT
    with ThreadPoolExecutor(workers) as pool, dask.config.set(pool=pool):
        yield


def _drop_layout(encoding: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return how values are to be stored, without chunks and codecs of the store they came from."""
    return {key: value for key, value in encoding.items() if key not in (*STALE_ENCODING, *_CODECS)}


def _to_storable(value: Any) -> Any:
    """Return an attribute that JSON can hold."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    kept = isinstance(value, np.generic | str | int | float | bool | list | tuple)
    return value if kept else json.dumps(value, default=str)


def _even_chunks(da: xr.DataArray) -> xr.DataArray:
    """Return the array with chunks that Zarr can hold: alike but for the last along each dim."""
    if da.chunks is None:
        return da
    uneven = {
        dim: max(chunks)
        for dim, chunks in zip(da.dims, da.chunks, strict=True)
        if len(set(chunks[:-1])) > 1 or chunks[-1] > chunks[0]
    }
    return da.chunk(uneven) if uneven else da
