"""Rasters that cannot be super-resolved, and places that cannot be written: a clear error, no half output."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers.builders import generator, raster
from rasterio import Affine

from sr_imaging import GridError, ResourceError, WriteError, read, upscale, write
from sr_imaging.batch.plan import plan_batch
from sr_imaging.batch.run import run_batch
from sr_imaging.batch.task import BatchOptions

ESPCN = generator("espcn", scale=(2, 2))
CUBIC = BatchOptions(model="cubic", scale=2)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("geotiff_derived/empty.tif", "is empty and is not DICOM, GeoTIFF"),
        ("geotiff_derived/truncated_half.tif", "is cut short: block 1, 0 of band 3"),
        ("geotiff_derived/text_named.tif", "starts with b'this is not ' and is no"),
        ("geotiff_variants/corrupt.tif", "is cut short: block 1, 1 of band 1"),
    ],
)
def test_a_damaged_raster_fails_alone(shared_data: Path, tmp_path: Path, name: str, cause: str) -> None:
    good = write(raster((2, 9, 11), dtype="uint8"), tmp_path / "good.tif")
    ran = run_batch(plan_batch([shared_data / "odd" / name, good], tmp_path / "out", CUBIC))
    assert [result.status for result in ran.results] == ["failed", "done"]
    assert cause in ran.results[0].cause
    assert [path.name for path in sorted((tmp_path / "out").glob("*.tif"))] == ["good.tif"]


def test_pixels_that_turn_out_damaged_half_way_leave_nothing(tmp_path: Path) -> None:
    path = write(raster((1, 1300, 1400), dtype="uint8"), tmp_path / "a.tif")
    with rasterio.open(path) as src:
        at = int(src.get_tag_item("BLOCK_OFFSET_1_2", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[at : at + 20_000] = bytes(20_000)
    path.write_bytes(data)
    ran = run_batch(plan_batch([path], tmp_path / "out", CUBIC))
    assert [result.status for result in ran.results] == ["failed"]
    assert "the file is damaged or cut short, fetch it again" in ran.results[0].cause
    assert not any(entry.suffix == ".tif" for entry in (tmp_path / "out").iterdir())


def test_a_million_by_a_million_is_refused_by_the_plan(tmp_path: Path) -> None:
    side, path = 10**6, tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8", tiled=True,
        blockxsize=8192, blockysize=8192, sparse_ok=True, bigtiff="yes", crs="EPSG:32632",
        transform=Affine(1, 0, 5e5, 0, -1, 5e6),
    ):  # fmt: skip
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = plan_batch([path], tmp_path / "out", CUBIC)
    with pytest.raises(ResourceError, match=r"the outputs take up to 4 TB, and .* free; free some space"):
        plan.check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("format", ["geotiff", "cog"])
def test_a_disk_that_is_full_half_way_is_an_error_and_leaves_nothing(tmp_path: Path, format: str) -> None:
    """A limit on the size of a file stands for the disk; GDAL meets it in a thread of its own."""
    script = (
        "import resource, sys, numpy as np, xarray as xr, sr_imaging\n"
        "values = np.random.default_rng(0).integers(0, 65535, (2, 700, 900), dtype=np.uint16)\n"
        "da = xr.DataArray(values, dims=('band', 'y', 'x')).chunk(y=512, x=512)\n"
        "fine = sr_imaging.upscale(da, 'cubic', scale=2)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"
        "try:\n"
        "    sr_imaging.write(fine, sys.argv[1], format=sys.argv[2])\n"
        "except (sr_imaging.WriteError, sr_imaging.ResourceError) as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "out.tif"
    command = [sys.executable, "-c", script, str(path), format]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            errno.EROFS,
            r"cannot write .*out\.tif: Read-only file system; choose a folder that is not read-only",
        ),
        (errno.EACCES, r"cannot write .*out\.tif: Permission denied; choose a folder you may write to"),
        (errno.ENOSPC, r"cannot write .*out\.tif: No space left on device; free some disk space"),
    ],
)
@pytest.mark.parametrize("format", ["geotiff", "cog"])
def test_a_path_that_may_not_be_written_is_our_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str, format: str
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises((WriteError, ResourceError), match=message):
        write(raster((1, 5, 6)), tmp_path / "out.tif", format=format)
    assert list(tmp_path.iterdir()) == []


def test_a_raster_of_nodata_alone_stays_one(shared_data: Path, tmp_path: Path) -> None:
    da = read(shared_data / "odd/geotiff_variants/all-nodata.tif")[:, :200]
    with rasterio.open(write(upscale(da, ESPCN), tmp_path / "out.tif", format="cog")) as dst:
        assert dst.shape == (400, 142)
        assert not dst.dataset_mask().any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (1, 7, 1)])
@pytest.mark.parametrize("format", ["geotiff", "cog"])
def test_one_row_column_or_pixel_goes_from_file_to_file(
    tmp_path: Path, shape: tuple[int, int, int], format: str
) -> None:
    da = raster((shape[0], 7, 9), dtype="int16")[:, : shape[1], : shape[2]]
    source = write(da, tmp_path / "in.tif")
    path = write(upscale(read(source), ESPCN), tmp_path / "out.tif", format=format)
    with rasterio.open(source) as src, rasterio.open(path) as dst:
        assert dst.bounds == src.bounds
        assert dst.shape == (2 * shape[1], 2 * shape[2])
        assert np.abs(dst.read().astype(int).mean() - src.read().mean()) < 20


@pytest.mark.parametrize(
    ("da", "message"),
    [
        (
            raster((2, 9, 11), dtype="uint8").assign_attrs(_FillValue=-9999),
            r"nodata -9999 is not a uint8 value; drop or correct attrs\['_FillValue'\]",
        ),
        (
            raster((2, 9, 11)).assign_coords(mask=raster((2, 9, 11)) > 0),
            r"the mask has dims \('band', 'y', 'x'\), and a GeoTIFF one mask .*; assign one of dims y and x",
        ),
    ],
    ids=["nodata", "mask"],
)
def test_what_a_geotiff_cannot_hold_is_our_error(da: xr.DataArray, message: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=message):
        write(da, tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_nodata_that_the_asked_type_cannot_hold_is_dropped(tmp_path: Path) -> None:
    da = raster((1, 9, 11), dtype="int16").assign_attrs(_FillValue=np.int16(-9999))
    sr = upscale(da, "cubic", scale=2, dtype="uint8")
    assert "_FillValue" not in sr.attrs
    with rasterio.open(write(sr, tmp_path / "a.tif")) as dst:
        assert (dst.dtypes, dst.nodata) == (("uint8",), None)


def test_chunks_of_unknown_size_are_our_error() -> None:
    lazy = raster((3, 9, 11)).chunk(band=1).data
    da = xr.DataArray(lazy[lazy[:, 0, 0] > -1], dims=("time", "y", "x"))
    with pytest.raises(GridError, match=r"dask does not know the length of dim 'time'; da.data.comp"):
        upscale(da, "cubic", scale=2)


@pytest.mark.parametrize("attrs", [{"nodata": -1.0}, {"nodata": -1.0, "_FillValue": None}])
def test_nodata_counts_for_the_writer_as_for_the_model(attrs: dict[str, object], tmp_path: Path) -> None:
    da = raster((1, 9, 11)).assign_attrs(attrs)
    da[0, 4, 5] = -1
    with rasterio.open(write(upscale(da, "cubic", scale=2), tmp_path / "a.tif")) as dst:
        assert dst.nodata == -1
        assert int((dst.read_masks(1) == 0).sum()) == 4
