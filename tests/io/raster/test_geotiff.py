"""GeoTIFF: what was read is written again, lazily and whole."""

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from rasterio import Affine
from rasterio.enums import ColorInterp

from sr_imaging import GridError, ReadError, WriteError, find_scans, read, write
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.refinement import refine

NORTH_UP = Affine(2.0, 0.0, 500.0, 0.0, -3.0, 900.0)
UTM = "EPSG:32615"
VARIANTS = [
    "odd/geotiff_derived/band_interleaved_bigtiff_lzw.tif",
    "odd/geotiff_derived/different_epsg4326_negative.tif",
    "odd/geotiff_derived/float32_nan_nodata.tif",
    "odd/geotiff_derived/gcps_only_uint16.tif",
    "odd/geotiff_derived/int32_values_over_16bit.tif",
    "odd/geotiff_derived/internal_mask_uint8.tif",
    "odd/geotiff_derived/nonsquare_pixels_30x60.tif",
    "odd/geotiff_derived/one_pixel.tif",
    "odd/geotiff_derived/one_row.tif",
    "odd/geotiff_derived/rotated20deg_uint16.tif",
    "odd/geotiff_derived/rpc_uint16.tif",
    "odd/geotiff_derived/scale_offset_uint16.tif",
    "odd/geotiff_derived/south_up_int16.tif",
    "odd/geotiff_variants/all-nodata.tif",
    "odd/geotiff_variants/alpha.tif",
    "odd/geotiff_variants/clp.tif",
    "odd/geotiff_variants/cog_gcps.tif",
    "odd/geotiff_variants/cog_rgb_mask.tif",
    "odd/geotiff_variants/cog_rgba.tif",
    "odd/geotiff_variants/cog_scale.tif",
    "odd/geotiff_variants/cog_tags.tif",
    "odd/geotiff_variants/float_raster_with_nodata.tif",
    "odd/geotiff_variants/goes.tif",
    "odd/geotiff_variants/test_esri_wkt.tif",
    "satellite/landsat5_nebraska_customcrs/sample_geotiff_custom_proj.tif",
    "satellite/landsat7_chiapas_8band/LE70220491999322EDC01_stack.gtif",
    "satellite/landsat8_mendoza_float64/LC82320832016040LGN00_sr_band2.tif",
    "satellite/landsat8_pan_robinson_memphis/L8-B8-Robinson-IL.tiff",
    "satellite/naip_virginia_1m/NAIP-VA-b1.tiff",
    "satellite/neon_drone_10cm/2019_YELL_2_541000_4977000_image_crop.tiff",
    "satellite/sentinel2_fields_10m/spyndex_s2_10m_nocrs.tif",
    "satellite/sentinel2_lake_nodata/S2_Harsha.tif",
]


def make_tiff(path: Path, values: np.ndarray, transform: Affine | None = NORTH_UP, **profile: Any) -> Path:
    """Write (band, y, x) values with rasterio alone."""
    count, height, width = values.shape
    options = {"crs": UTM if transform else None, **profile}
    with rasterio.Env(), rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype,
        transform=transform, **options,
    ) as dst:  # fmt: skip
        dst.write(values)
    return path


def raster(shape: tuple[int, int, int] = (3, 5, 7), dtype: str = "uint16", seed: int = 0) -> xr.DataArray:
    values = np.random.default_rng(seed).integers(1, 120, shape).astype(dtype)
    t = NORTH_UP
    coords = {
        "y": t.f + t.e * (np.arange(shape[1]) + 0.5),
        "x": t.c + t.a * (np.arange(shape[2]) + 0.5),
    }
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords).rio.write_crs(UTM)


def same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))


def assert_same_raster(one: xr.DataArray, other: xr.DataArray) -> None:
    assert one.dtype == other.dtype
    assert same(one.values, other.values)
    assert list(one.coords) == list(other.coords)
    assert one.attrs.keys() == other.attrs.keys()
    for key, value in one.attrs.items():
        assert same(value, other.attrs[key]), key
    for name, coord in one.coords.items():
        assert same(coord.values, other.coords[name].values), name
        attrs, others = dict(coord.attrs), dict(other.coords[name].attrs)
        if name == "spatial_ref":  # names of a CRS may be spelled anew
            attrs, others = ({k: v for k, v in a.items() if k == "GeoTransform"} for a in (attrs, others))
        assert attrs == others, name
    assert one.rio.crs == other.rio.crs


def fine(da: xr.DataArray, scale: int) -> xr.DataArray:
    """Every pixel repeated, on the refined grid."""
    values = da.data.repeat(scale, axis=1).repeat(scale, axis=2)
    return refine(da, values, {"y": scale, "x": scale})


@pytest.mark.parametrize("name", VARIANTS)
def test_write_restores_what_was_read(shared_data: Path, tmp_path: Path, name: str) -> None:
    da = read(shared_data / name)
    assert_same_raster(da, read(write(da, tmp_path / "copy.tif")))
    assert [path.name for path in tmp_path.iterdir()] == ["copy.tif"]


@pytest.mark.parametrize("name", ["scale_offset_uint16", "internal_mask_uint8", "gcps_only_uint16"])
def test_cog_restores_what_was_read(shared_data: Path, tmp_path: Path, name: str) -> None:
    da = read(shared_data / f"odd/geotiff_derived/{name}.tif")
    assert_same_raster(da, read(write(da, tmp_path / "copy.tif", format="cog")))


def test_cog_is_valid_and_has_overviews(tmp_path: Path) -> None:
    cogeo = pytest.importorskip("rio_cogeo.cogeo", reason="needs rio-cogeo")
    path = write(raster((1, 700, 1300)), tmp_path / "cog.tif", format="cog")
    valid, errors, warned = cogeo.cog_validate(path, quiet=True)
    assert valid, errors
    assert not warned
    with rasterio.open(path) as src:
        assert src.overviews(1) == [2, 4]


@pytest.mark.parametrize(
    "name", ["rotated20deg_uint16", "south_up_int16", "one_row", "one_pixel", "nonsquare_pixels_30x60"]
)
def test_refined_raster_keeps_its_footprint_on_disk(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / f"odd/geotiff_derived/{name}.tif"
    path = write(fine(read(source), 3), tmp_path / "fine.tif")
    with rasterio.open(source) as coarse, rasterio.open(path) as dst:
        assert dst.shape == (coarse.height * 3, coarse.width * 3)
        assert dst.crs == coarse.crs
        wanted = coarse.transform @ Affine.scale(1 / 3)
        assert dst.transform.almost_equals(wanted, precision=1e-6 * abs(wanted.determinant) ** 0.5)


def test_refined_transform_is_that_of_its_coords(shared_data: Path, tmp_path: Path) -> None:
    da = read(shared_data / "odd/geotiff_derived/nonsquare_pixels_30x60.tif")
    again = read(write(fine(da, 2), tmp_path / "fine.tif"))
    assert again.rio.transform() == again.rio.transform(recalc=True)
    assert again.rio.bounds() == da.rio.bounds()


def test_point_pixels_stay_points_at_the_same_place(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_derived/scale_offset_uint16.tif"
    path = write(fine(read(source), 2), tmp_path / "fine.tif")
    with rasterio.open(source) as coarse, rasterio.open(path) as dst:
        assert dst.tags()["AREA_OR_POINT"] == "Point"
        assert dst.bounds == coarse.bounds


def test_names_scales_units_tags_reach_the_file(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_derived/scale_offset_uint16.tif"
    da = read(source).assign_attrs(units="1", sr_scale=2, history="refined")
    with rasterio.open(source) as src, rasterio.open(write(da, tmp_path / "out.tif")) as dst:
        assert dst.descriptions == src.descriptions == ("blue", "green", "red", "nir")
        assert dst.scales == src.scales == (0.0001,) * 4
        assert dst.offsets == src.offsets == (-0.0001,) * 4
        assert dst.units == ("1",) * 4
        assert dst.tags(1) == src.tags(1) == {"WAVELENGTH_NM": "485"}
        assert dst.tags() == {"AREA_OR_POINT": "Point", "sr_scale": "2", "history": "refined"}


def test_band_names_are_written_from_the_band_coord(tmp_path: Path) -> None:
    da = raster((2, 4, 3)).assign_coords(band=["nir", "red"])
    with rasterio.open(write(da, tmp_path / "out.tif")) as dst:
        assert dst.descriptions == ("nir", "red")


def test_statistics_of_other_pixels_are_not_kept(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_variants/cog_tags.tif"
    with rasterio.open(source) as src, rasterio.open(write(read(source), tmp_path / "out.tif")) as dst:
        assert "STATISTICS_MEAN" in src.tags(1)
        assert dst.tags(1) == {}


def test_palette_is_marked_and_kept(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_variants/cog_cmap.tif"
    da = read(source)
    assert da.attrs["color_interp"] == ("palette",)
    path = write(da[:, 4000:4030, 3000:3050], tmp_path / "out.tif")
    with rasterio.open(source) as src, rasterio.open(path) as dst:
        assert dst.colorinterp == (ColorInterp.palette,)
        assert dst.colormap(1) == src.colormap(1)


def test_mask_is_a_coord_that_refines_and_returns_as_mask(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_derived/internal_mask_uint8.tif"
    with rasterio.open(source) as src:
        mask = src.read_masks(1) > 0
    with rasterio.open(write(fine(read(source), 2), tmp_path / "out.tif")) as dst:
        assert dst.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]
        assert same(dst.read_masks(1) > 0, mask.repeat(2, 0).repeat(2, 1))


def test_masked_read_is_nan_outside_the_mask(shared_data: Path) -> None:
    source = shared_data / "odd/geotiff_derived/internal_mask_uint8.tif"
    da = read(source, masked=True)
    assert da.dims == ("band", "y", "x")
    assert da.dtype == np.float32
    with rasterio.open(source) as src:
        assert same(np.isnan(da.values[1]), src.read_masks(2) == 0)


def test_masked_read_tells_that_a_mask_alone_makes_floats(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(shared_data / "odd/geotiff_derived/internal_mask_uint8.tif", masked=True)
    assert "masked values are float32 and will be written so, since no uint8 stands for nodata" in caplog.text


def test_masked_read_is_written_as_it_was(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_derived/different_epsg4326_negative.tif"
    masked = read(source, masked=True)
    assert "_FillValue" not in masked.attrs
    assert_same_raster(read(source), read(write(masked, tmp_path / "out.tif")))


def test_control_points_scale_with_crop_and_refinement(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_variants/cog_gcps.tif"
    part = read(source)[:, 20:, 10:200]
    with rasterio.open(source) as src, rasterio.open(write(fine(part, 2), tmp_path / "out.tif")) as dst:
        (old, old_crs), (new, new_crs) = src.gcps, dst.gcps
        assert new_crs == old_crs
        assert len(new) == len(old) == 210
        assert [p.row for p in new] == pytest.approx([(p.row - 20) * 2 for p in old])
        assert [p.col for p in new] == pytest.approx([(p.col - 10) * 2 for p in old])
        assert [(p.x, p.y, p.z) for p in new] == [(p.x, p.y, p.z) for p in old]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("more", "offset"), [({}, "-2"), ({"GEOREFERENCING_CONVENTION": "PIXEL_CENTER"}, "-1.5")]
)
def test_geolocation_arrays_scale_with_crop_and_refinement(
    more: dict[str, str], offset: str, tmp_path: Path
) -> None:
    tags = more | {"X_DATASET": "lon.tif", "PIXEL_OFFSET": "0", "LINE_OFFSET": "3", "LINE_STEP": "4"}
    facts = {"width": 7, "height": 5, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "in.tif", "w", driver="GTiff", **facts) as dst:
        dst.write(np.ones((1, 5, 7), np.uint8))
        dst.update_tags(ns="GEOLOCATION", **tags)
    da = read(tmp_path / "in.tif")[:, :, 1:]
    fine = refine(da, da.data.repeat(2, 1).repeat(2, 2), {"y": 2, "x": 2})
    with rasterio.open(write(fine, tmp_path / "out.tif")) as dst:
        told = dst.tags(ns="GEOLOCATION")
    with pytest.raises(WriteError, match="COG holds no geolocation arrays; write geotiff"):
        write(fine, tmp_path / "cog.tif", format="cog")
    assert (told["PIXEL_OFFSET"], told["PIXEL_STEP"], told["LINE_STEP"]) == (offset, "2", "8")
    assert told["X_DATASET"] == "lon.tif"


def test_polynomials_point_to_the_same_ground(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_derived/rpc_uint16.tif"
    with (
        rasterio.open(source) as src,
        rasterio.open(write(fine(read(source), 4), tmp_path / "out.tif")) as dst,
    ):
        old, new = src.rpcs, dst.rpcs
        # a pixel centre c counts as c + 1/2 from the corner, which is scaled
        for moved, off, factor in ((0.3, "samp_off", "samp_scale"), (-0.7, "line_off", "line_scale")):
            before = getattr(old, off) + moved * getattr(old, factor)
            after = getattr(new, off) + moved * getattr(new, factor)
            assert after + 0.5 == pytest.approx(4 * (before + 0.5))
        assert new.samp_num_coeff == old.samp_num_coeff


def test_control_points_are_never_dropped_silently(shared_data: Path, tmp_path: Path) -> None:
    da = read(shared_data / "odd/geotiff_derived/gcps_only_uint16.tif").drop_vars(["x", "y"])
    with pytest.raises(WriteError, match=r"image_ref but no x and y coords; keep the coords, or drop_vars"):
        write(da, tmp_path / "out.tif")


def test_file_without_place_gets_no_coords(tmp_path: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = make_tiff(tmp_path / "plain.tif", np.ones((2, 3, 4), np.uint8), None)
    da = read(path)
    assert list(da.coords) == ["band"]
    again = read(write(da, tmp_path / "again.tif"))
    assert list(again.coords) == ["band"]


def test_read_is_lazy_for_a_million_by_a_million(tmp_path: Path) -> None:
    n = 10**6
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=n, height=n, count=1, dtype="uint8", crs=UTM, transform=NORTH_UP,
        tiled=True, blockxsize=8192, blockysize=8192, sparse_ok=True, bigtiff="yes", compress="deflate",
    ):  # fmt: skip
        pass
    da = read(path)
    assert da.shape == (1, n, n)
    assert geo_transform(da) == [500.0, 2.0, 0.0, 900.0, 0.0, -3.0]
    assert da[0, 500_000:500_003, 7:9].values.tolist() == [[0, 0]] * 3


def test_huge_rotated_raster_has_lazy_centres(tmp_path: Path) -> None:
    n = 50_000
    turned = Affine(8, 6, 100, 6, -8, 200)
    with rasterio.open(
        tmp_path / "turned.tif", "w", driver="GTiff", width=n, height=n, count=1, dtype="uint8", crs=UTM,
        transform=turned, tiled=True, blockxsize=4096, blockysize=4096, sparse_ok=True, compress="deflate",
    ):  # fmt: skip
        pass
    da = read(tmp_path / "turned.tif")
    assert da.coords["xc"].chunks is not None
    assert geo_transform(da) == pytest.approx(list(turned.to_gdal()))


def test_slices_of_the_lazy_array_equal_slices_of_the_file(shared_data: Path) -> None:
    source = shared_data / "odd/geotiff_derived/scale_offset_uint16.tif"
    with rasterio.open(source) as src:
        whole = src.read()
    da = read(source)
    s_ = np.s_
    for index in (s_[:, 3:9, 5], s_[2, ::-3, 140:2:-7], s_[1:3, 149, :], s_[:, 5:5], s_[::2, [4, 90]]):
        assert same(da[index].values, whole[index])


def test_lazy_array_can_be_pickled_and_read_by_many_threads(shared_data: Path) -> None:
    source = shared_data / "odd/geotiff_variants/cog_gcps.tif"
    da = pickle.loads(pickle.dumps(read(source)))
    with rasterio.open(source) as src:
        whole = src.read()
    assert same(da.chunk({"y": 64, "x": 64}).compute(scheduler="threads", num_workers=8).values, whole)


@pytest.mark.parametrize(
    "chunks", [{"y": 300, "x": 700}, {"band": 1, "y": 512, "x": 512}, {"y": 37, "x": 1001}]
)
def test_dask_and_numpy_give_the_same_file(tmp_path: Path, chunks: dict[str, int]) -> None:
    da = raster((2, 611, 1203), seed=1)
    plain = read(write(da, tmp_path / "numpy.tif"))
    assert_same_raster(plain, read(write(da.chunk(chunks), tmp_path / "dask.tif")))


def test_each_chunk_is_computed_once(tmp_path: Path) -> None:
    lock, seen = threading.Lock(), []

    def remember(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        with lock:
            seen.append(block_info[0]["chunk-location"])
        return block

    base = dask.array.zeros((1, 4096, 512), chunks=(1, 256, 256), dtype=np.uint8)
    told = base.map_blocks(remember, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    da = raster((1, 4096, 512)).copy(data=told)
    seen.clear()
    write(da, tmp_path / "out.tif")
    assert sorted(seen) == [(0, row, col) for row in range(16) for col in range(2)]


@pytest.mark.parametrize("strip", [1, 7, 64])
def test_chunks_of_a_striped_file_end_where_tiles_of_a_result_do(strip: int, tmp_path: Path) -> None:
    path, facts = tmp_path / "a.tif", {"width": 3001, "height": 2999, "count": 4, "dtype": "uint16"}
    place = {"crs": UTM, "transform": NORTH_UP}
    with rasterio.open(path, "w", driver="GTiff", blockysize=strip, sparse_ok=True, **facts, **place) as dst:
        dst.write(np.ones((1, 1), np.uint16), 1, window=((0, 1), (0, 1)))
    rows = read(path).chunks[1]
    assert len(rows) > 2
    assert not [n for n in rows[:-1] if n % 256]


def test_file_is_tiled_and_compressed(tmp_path: Path) -> None:
    with rasterio.open(write(raster((1, 600, 900), "float32"), tmp_path / "out.tif")) as dst:
        assert dst.block_shapes == [(512, 512)]
        assert dst.compression.name == "deflate"
        assert dst.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"


def test_packed_values_are_rounded_clipped_and_kept_off_nodata(tmp_path: Path) -> None:
    da = raster((1, 2, 3), "float64").copy(data=[[[0.7, np.nan, 7.0], [-3.0, 0.00004, 0.5]]])
    da.encoding.update(dtype="uint16", scale_factor=1e-4, add_offset=0.0, _FillValue=0)
    with rasterio.open(write(da, tmp_path / "out.tif")) as dst:
        assert dst.read().tolist() == [[[7000, 0, 65535], [1, 1, 5000]]]
        assert dst.nodata == 0
        assert dst.scales == (1e-4,)


def test_nan_without_an_integer_for_it_is_refused(tmp_path: Path) -> None:
    da = raster((1, 2, 2), "float32").where(lambda a: a > 60)
    da.encoding["dtype"] = "uint8"
    with pytest.raises(WriteError, match=r"NaN has no uint8 value; set encoding"):
        write(da, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "stored"), [("bool", "uint8"), ("float16", "float32"), ("int64", "int64")])
def test_dtypes_that_tiff_lacks_are_widened(tmp_path: Path, dtype: str, stored: str) -> None:
    da = raster().astype(dtype)
    again = read(write(da, tmp_path / "out.tif"))
    assert again.dtype == stored
    assert same(again.values.astype(dtype), da.values)


def test_array_without_bands_is_one_band(tmp_path: Path) -> None:
    da = raster()[1].drop_vars("spatial_ref")
    again = read(write(da, tmp_path / "out.tif"))
    assert again.shape == (1, 5, 7)
    assert same(again.values[0], da.values)


def test_nodata_that_the_dtype_cannot_hold_marks_nothing_and_is_told(tmp_path: Path) -> None:
    path = make_tiff(tmp_path / "a.tif", np.ones((1, 2, 3), np.uint8), nodata=100)
    data = path.read_bytes()
    assert data.count(b"100\0") == 1  # the tag GDAL_NODATA is text
    path.write_bytes(data.replace(b"100\0", b"1.5\0"))
    (scan,) = find_scans(path)
    assert scan.verdict.notes == ("nodata 1.5 is not a uint8 value and marks nothing",)
    assert "_FillValue" not in read(path).attrs


def test_only_the_first_page_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = make_tiff(tmp_path / "pages.tif", np.full((1, 4, 5), 7, np.uint8))
    with rasterio.open(path, "r+", APPEND_SUBDATASET="YES"):
        pass
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=2, width=3, dtype="uint8", append_subdataset=True,
        transform=NORTH_UP, crs=UTM,
    ) as dst:  # fmt: skip
        dst.write(np.full((1, 2, 3), 9, np.uint8))
    (scan,) = find_scans(path)
    assert scan.verdict.ok
    assert scan.verdict.notes == ("the first of 2 images in the file is read",)
    assert read(path).shape == (1, 4, 5)


def test_complex_values_are_refused(tmp_path: Path) -> None:
    path = make_tiff(tmp_path / "sar.tif", np.ones((1, 3, 4), np.complex64))
    with pytest.raises(ReadError, match=r"holds complex values \(complex64\)"):
        read(path)


@pytest.mark.parametrize(
    ("da", "message"),
    [
        (raster().rename(y="row"), r"have no y and x; rename the spatial dims"),
        (raster().rename(band="z"), r"is a volume; write it as nifti, dicom or zarr"),
        (raster().expand_dims("time"), r"one dim of bands, got \['time', 'band'\]"),
        (raster().astype(complex), r"cannot hold complex128"),
        (raster()[:, :0], r"has no pixels"),
    ],
)
def test_arrays_that_are_no_raster_are_refused(tmp_path: Path, da: xr.DataArray, message: str) -> None:
    with pytest.raises(WriteError, match=message):
        write(da, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_place_of_a_single_row_without_spacing_is_not_lost_silently(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"dim 'y' has one pixel and no stated spacing"):
        write(raster()[:, :1], tmp_path / "out.tif")


@pytest.mark.parametrize("crs", ["OGC:CRS84", "ESRI:54009", "EPSG:7415", "+proj=sinu +R=6371007.181"])
def test_unusual_crs_is_kept(tmp_path: Path, crs: str) -> None:
    again = read(write(raster().rio.write_crs(crs), tmp_path / "out.tif"))
    wanted = raster().rio.write_crs(crs).rio.crs
    assert again.rio.crs.to_proj4() == wanted.to_proj4()


def test_crs_that_geotiff_cannot_hold_is_refused(tmp_path: Path) -> None:
    turned = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229"
    with pytest.raises(WriteError, match=r"GeoTIFF cannot hold the CRS .*; write zarr, or reproject first"):
        write(raster().rio.write_crs(turned), tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_uneven_coords_are_refused(tmp_path: Path) -> None:
    da = raster()
    da = da.assign_coords(x=da.x.values**1.2)
    with pytest.raises(GridError, match=r"coord 'x' is uneven"):
        write(da, tmp_path / "out.tif")


def test_output_on_a_failing_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """GDAL closes such a file without a word; libtiff alone prints to stderr."""
    script = (
        "import resource, sys, numpy as np, xarray as xr, sr_imaging\n"
        "values = np.random.default_rng(0).integers(0, 65535, (1, 700, 900), dtype=np.uint16)\n"
        "da = xr.DataArray(values, dims=('band', 'y', 'x'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))\n"
        "try:\n"
        "    sr_imaging.write(da, sys.argv[1])\n"
        "except sr_imaging.WriteError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out.tif")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(
        f"cannot write {tmp_path / 'out.tif'}: it cannot be read back; check the disk"
    )
    assert list(tmp_path.iterdir()) == []


def test_side_files_of_a_replaced_tiff_are_removed(tmp_path: Path) -> None:
    path = write(raster(), tmp_path / "out.tif")
    (tmp_path / "out.tif.aux.xml").write_text("<PAMDataset/>")
    write(raster(), path, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.tif"]


def test_write_does_not_change_its_input(tmp_path: Path) -> None:
    da = raster().assign_attrs(long_name=("a", "b", "c"))
    da.encoding["_FillValue"] = 3
    before = da.copy(deep=True)
    write(da, tmp_path / "out.tif")
    xr.testing.assert_identical(da, before)
    assert da.encoding == {"_FillValue": 3, "grid_mapping": "spatial_ref"}


def test_rpc_json_holds_all_coefficients(shared_data: Path) -> None:
    da = read(shared_data / "odd/geotiff_derived/rpc_uint16.tif")
    assert len(json.loads(da.coords["image_ref"].attrs["rpcs"])["line_num_coeff"]) == 20
