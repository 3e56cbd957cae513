"""Rasters that are no GeoTIFF file: JPEG 2000, VRT, netCDF, URLs and GDAL's virtual paths."""

import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers.builders import generator, raster
from rasterio.shutil import copy

from sr_imaging import ReadError, find_scans, read, upscale, write
from sr_imaging.batch.plan import plan_batch
from sr_imaging.batch.run import run_batch
from sr_imaging.batch.task import BatchOptions
from sr_imaging.io.addresses import address_of, name_of

ESPCN = generator("espcn", scale=(2, 2))
COG = "odd/geotiff_variants/cogeo.tif"


class _Ranges(SimpleHTTPRequestHandler):
    """Serves parts of files, as servers of COGs do."""

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes() if "missing" not in self.path else None
        found = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if data is None:
            self.send_error(404)
            return
        first, last = (int(found[1]), int(found[2] or len(data) - 1)) if found else (0, len(data) - 1)
        part = data[first : last + 1]
        self.send_response(206 if found else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if found:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """URL of the folder `tmp_path`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def jpeg2000(path: Path, source: Path) -> Path:
    """A lossless JPEG 2000 of the first band of a raster."""
    with rasterio.open(source) as src:
        facts = {"crs": src.crs, "transform": src.transform, "dtype": src.dtypes[0]}
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", width=src.width, height=src.height, count=1, quality=100,
            reversible=True, **facts,
        ) as dst:  # fmt: skip
            dst.write(src.read(1), 1)
    return path


def test_a_60_m_jpeg_2000_is_super_resolved_in_place(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "satellite/sentinel2_coast_20m/s2_B01_B09_60m.tif"
    path = jpeg2000(tmp_path / "T18_B01_60m.jp2", source)
    (scan,) = find_scans(path)
    assert (scan.kind, scan.verdict.ok, scan.spacing) == ("raster", True, (60.0, 60.0))
    sr = upscale(read(path), ESPCN)
    with rasterio.open(source) as src, rasterio.open(write(sr, tmp_path / "out.tif")) as dst:
        np.testing.assert_array_equal(read(path)[0], src.read(1))
        assert dst.bounds == src.bounds
        assert dst.crs == src.crs
        assert dst.res == (30.0, 30.0)
        assert dst.dtypes == ("uint16",)


def test_a_folder_of_jpeg_2000_and_virtual_rasters_is_a_batch(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_variants/red.tif"
    jpeg2000(tmp_path / "in.jp2", source)
    copy(source, tmp_path / "in-b.vrt", driver="VRT")
    plan = plan_batch([tmp_path], tmp_path / "out", BatchOptions(model="cubic", scale=2))
    ran = run_batch(plan)
    assert [result.status for result in ran.results] == ["done", "done"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif")) == ["in-b.tif", "in.tif"]
    with rasterio.open(source) as src, rasterio.open(tmp_path / "out/in-b.tif") as dst:
        assert dst.bounds == src.bounds


def virtual(path: Path, *bands: str) -> Path:
    """A virtual raster of bands that are described in VRT's own words, 14 x 11 pixels."""
    path.write_text(
        '<VRTDataset rasterXSize="14" rasterYSize="11"><GeoTransform>500000,20,0,4100000,0,-10</GeoTransform>'
        + "".join(bands)
        + "</VRTDataset>"
    )
    return path


def virtual_band(number: int, source: str, inside: str = "", *, dtype: str = "Int16") -> str:
    return (
        f'<VRTRasterBand dataType="{dtype}" band="{number}">{inside}<SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename></SimpleSource></VRTRasterBand>'
    )


NODATA = "<NoDataValue>{}</NoDataValue>"
MASK = f"<MaskBand>{virtual_band(1, 'valid.tif', dtype='Byte')}</MaskBand>"


@pytest.mark.parametrize(
    ("first", "second", "dtype", "message"),
    [
        (
            "<NoDataValue>-9999</NoDataValue>",
            "<NoDataValue>0</NoDataValue>",
            "Int16",
            r"nodata -9999.0, 0.0;",
        ),
        (NODATA.format(-9999), "", "Int16", r"nodata -9999.0, None; bring them to one"),
        ("", "", "Float32", r"types int16, float32; bring them to one with gdal_translate -ot"),
        (MASK, MASK, "Int16", r"a mask of its own for each of the bands 1, 2; write nodata there"),
    ],
    ids=["nodata", "nodata of one", "types", "masks"],
)
def test_bands_that_one_array_cannot_hold_are_refused(
    first: str, second: str, dtype: str, message: str, tmp_path: Path
) -> None:
    write(raster((1, 11, 14), dtype="int16"), tmp_path / "a.tif")
    write(raster((1, 11, 14), dtype="uint8"), tmp_path / "valid.tif")
    path = virtual(
        tmp_path / "a.vrt", virtual_band(1, "a.tif", first), virtual_band(2, "a.tif", second, dtype=dtype)
    )
    with pytest.raises(ReadError, match=message):
        read(path)
    assert [scan.verdict.ok for scan in find_scans(path)] == [False]


def test_mask_of_the_only_band_counts(tmp_path: Path) -> None:
    write(raster((1, 11, 14), dtype="int16"), tmp_path / "a.tif")
    valid = xr.zeros_like(raster((1, 11, 14), dtype="uint8"))
    valid[:, :, 6:] = 255
    write(valid, tmp_path / "valid.tif")
    da = read(virtual(tmp_path / "a.vrt", virtual_band(1, "a.tif", MASK)))
    np.testing.assert_array_equal(da.coords["mask"], valid[0] > 0)


def test_any_other_format_of_gdal_is_read_when_it_is_named(tmp_path: Path) -> None:
    da = raster((2, 13, 17), dtype="int16")
    plain = write(da, tmp_path / "a.tif")
    for driver, name in (("ENVI", "a.dat"), ("HFA", "b.img")):
        copy(plain, tmp_path / name, driver=driver)
        again = read(tmp_path / name)
        np.testing.assert_array_equal(again, da)
        np.testing.assert_allclose(again.x, da.x)


@pytest.mark.parametrize("engine", ["netcdf4", "scipy"])
def test_netcdf_is_read_as_stored_and_in_place(engine: str, tmp_path: Path) -> None:
    da = raster((3, 9, 12), dtype="int16", crs="EPSG:4326", step=(-0.5, 0.25), origin=(10, 50))
    da = da.assign_attrs(scale_factor=0.1, _FillValue=np.int16(-999)).rename(band="time")
    da.to_netcdf(tmp_path / "rain.nc", engine=engine)
    (scan,) = find_scans(tmp_path)
    assert (scan.kind, scan.verdict.ok, scan.shape) == ("netcdf", True, (3, 9, 12))
    again = read(tmp_path / "rain.nc")
    assert again.chunks is not None
    assert again.dtype == np.int16
    assert again.attrs["_FillValue"] == -999
    np.testing.assert_array_equal(again, da)
    sr = upscale(again, ESPCN)
    back = read(write(sr, tmp_path / "out.zarr"))
    assert back.rio.bounds() == pytest.approx(da.rio.bounds())
    xr.testing.assert_equal(back.drop_vars("spatial_ref"), sr.compute().drop_vars("spatial_ref"))


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_packed_coords_place_a_store_by_what_they_stand_for(kind: str, tmp_path: Path) -> None:
    da = raster((9, 12), step=(-0.5, 0.25), origin=(10.125, 50.25))
    for name, factor, offset in (("x", 0.25, 10.0), ("y", -0.5, 50.0)):  # as in GOES: int16 beside floats
        packing = {"dtype": "int16", "scale_factor": factor, "add_offset": offset, "_FillValue": -999}
        da.coords[name].encoding = packing
    path = tmp_path / f"goes.{kind}"
    da.to_netcdf(path) if kind == "nc" else da.to_zarr(path, zarr_format=2)
    (scan,) = find_scans(path)
    assert scan.spacing == (0.5, 0.25)
    again = read(path)
    for name in ("y", "x"):
        np.testing.assert_array_equal(again.coords[name], da.coords[name])
        assert not {"scale_factor", "add_offset"} & set(again.coords[name].attrs)
    with rasterio.open(write(upscale(again, "cubic", scale=2), tmp_path / "out.tif")) as dst:
        assert dst.transform.to_gdal() == (10.125, 0.125, 0.0, 50.25, 0.0, -0.25)


def unsigned(path: Path, **attrs: object) -> np.ndarray:
    """A netCDF file of bytes from 0 to 250, signed by their type; returns what they mean."""
    meant = raster((9, 12), dtype="uint8", high=250)
    ds = (
        meant.astype("int8")
        .drop_attrs(deep=False)
        .assign_attrs(_Unsigned="true", **attrs)
        .to_dataset(name="a")
    )
    ds.to_netcdf(path)
    return meant.values


@pytest.mark.parametrize("out", ["zarr", "tif"])
def test_unsigned_numbers_in_a_signed_type_are_what_they_mean(out: str, tmp_path: Path) -> None:
    meant = unsigned(tmp_path / "a.nc", _FillValue=np.int8(-6), missing_value=np.int8(-1))
    da = read(tmp_path / "a.nc")
    assert (da.dtype, da.attrs["_FillValue"]) == (np.uint8, 250)
    np.testing.assert_array_equal(da, meant)
    again = read(write(da, tmp_path / f"b.{out}"))
    assert (again.dtype, again.attrs["_FillValue"]) == (np.uint8, 250)
    np.testing.assert_array_equal(np.squeeze(again), meant)


@pytest.mark.parametrize("fill", [{}, {"_FillValue": np.int8(-1)}])
def test_decoded_unsigned_numbers_keep_their_range(fill: dict[str, object], tmp_path: Path) -> None:
    meant = unsigned(tmp_path / "a.nc", scale_factor=0.5, **fill) * 0.5
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        sr = upscale(ds["a"], "nearest", scale=2).load()
    # float32 rounds the shift of a tile
    np.testing.assert_allclose(sr, meant.repeat(2, 0).repeat(2, 1), rtol=0, atol=1e-5)
    with rasterio.open(write(sr, tmp_path / "b.tif")) as dst:
        np.testing.assert_allclose(dst.read(1) * 0.5, sr, rtol=0, atol=1e-5)
    sr.encoding.setdefault("_FillValue", 255)  # xarray warns of integers without
    sr.to_netcdf(tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "b.nc") as again:
        np.testing.assert_allclose(again["a"], sr, rtol=0, atol=1e-5)


def test_a_netcdf_goes_to_zarr_in_a_batch(tmp_path: Path) -> None:
    raster((3, 9, 12)).to_netcdf(tmp_path / "rain.nc")
    ran = run_batch(
        plan_batch([tmp_path / "rain.nc"], tmp_path / "out", BatchOptions(model="cubic", scale=2))
    )
    assert [result.status for result in ran.results] == ["done"]
    assert read(tmp_path / "out/rain.zarr").shape == (3, 18, 24)


def test_a_damaged_netcdf_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    with pytest.raises(ReadError, match=r"cannot read .*a\.nc: .*; the file is damaged or of another kind"):
        read(tmp_path / "a.nc")


def test_a_cog_is_read_by_url_in_windows(tmp_path: Path, served: str) -> None:
    da = raster((2, 700, 1300), dtype="uint16", high=9000)
    write(da, tmp_path / "a.tif", format="cog")
    url = f"{served}/a.tif"
    again = read(url)
    assert again.encoding["source"] == url
    np.testing.assert_array_equal(again[:, 600:640, 1000:1100], da[:, 600:640, 1000:1100])
    ran = run_batch(plan_batch([url], tmp_path / "out", BatchOptions(model="cubic", scale=2)))
    assert [(result.status, result.input) for result in ran.results] == [("done", url)]
    with rasterio.open(tmp_path / "out/a.tif") as dst:
        assert dst.bounds == pytest.approx(da.rio.bounds())
        assert dst.shape == (1400, 2600)


def test_a_member_of_a_zip_is_read_by_its_virtual_path(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(shared_data / COG, "in/side.tif")
    for name in (f"/vsizip/{tmp_path}/a.zip/in/side.tif", f"zip://{tmp_path}/a.zip!in/side.tif"):
        assert read(name).shape == (3, 1024, 1024)
        assert read(Path(name)).shape == (3, 1024, 1024)


def test_a_url_that_is_not_there_is_our_error(served: str) -> None:
    with pytest.raises(
        ReadError, match=rf"cannot read {served}/missing.tif: .*404.*; check the address and the network"
    ):
        read(f"{served}/missing.tif")


@pytest.mark.timeout(30)
def test_a_url_that_does_not_answer_is_our_error_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.tif"
        with pytest.raises(ReadError, match=rf"cannot read {url}: .*; check the address"):
            read(url)
        ran = run_batch(plan_batch([url], tmp_path / "out", BatchOptions(model="cubic", scale=2)))
    assert [result.status for result in ran.results] == ["failed"]
    assert not (tmp_path / "out").exists()


def test_a_file_of_many_images_names_them(tmp_path: Path) -> None:
    ds = xr.Dataset({name: (("y", "x"), np.ones((5, 6), np.float32)) for name in ("rain", "snow")})
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ReadError, match=r"holds the images \['rain', 'snow'\]"):
        read(tmp_path / "a.nc")
    assert read(f'NETCDF:"{tmp_path}/a.nc":snow').shape == (1, 5, 6)


@pytest.mark.parametrize(
    ("given", "opened", "name"),
    [
        ("s3://bucket/a/b.tif", "s3://bucket/a/b.tif", "b.tif"),
        ("/vsicurl/https:/host/b.tif", "/vsicurl/https://host/b.tif", "b.tif"),
        ("zip+https:/host/a.zip", "zip+https://host/a.zip", "a.zip"),
        ("https://host/b.tif?key=/1", "https://host/b.tif?key=/1", "b.tif"),
        ("SENTINEL2_L2A:/d/MTD.xml:10m:EPSG_32632", None, "MTD.xml-10m-EPSG_32632"),
    ],
)
def test_addresses_survive_a_path(given: str, opened: str | None, name: str) -> None:
    assert address_of(Path(given)) == (opened or given)
    assert name_of(given) == name


@pytest.mark.parametrize("path", ["a.tif", "/data/a.tif", "C:/data/a.tif", "./http.tif"])
def test_files_are_no_addresses(path: str) -> None:
    assert address_of(path) is None
