"""A raster's way from file to file: whatever its tags say, the result says as well; rasterio is the judge."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers.builders import generator, raster, smooth
from rasterio import Affine
from rasterio.enums import MaskFlags

from sr_imaging import GridError, WriteError, read, upscale, write
from sr_imaging.image.grid.overlay import check_overlay

ESPCN = generator("espcn", scale=(2, 2))
COLOURS = generator("espcn", scale=(2, 2), in_channels=3)
DERIVED, ODD = "odd/geotiff_derived", "odd/geotiff_variants"

REAL = [
    f"{DERIVED}/different_epsg4326_negative.tif",
    f"{DERIVED}/float32_nan_nodata.tif",
    f"{DERIVED}/gcps_only_uint16.tif",
    f"{DERIVED}/int32_values_over_16bit.tif",
    f"{DERIVED}/internal_mask_uint8.tif",
    f"{DERIVED}/nonsquare_pixels_30x60.tif",
    f"{DERIVED}/one_pixel.tif",
    f"{DERIVED}/one_row.tif",
    f"{DERIVED}/rotated20deg_uint16.tif",
    f"{DERIVED}/rpc_uint16.tif",
    f"{DERIVED}/scale_offset_uint16.tif",
    f"{DERIVED}/south_up_int16.tif",
    f"{ODD}/all-nodata.tif",
    f"{ODD}/cog_gcps.tif",
    f"{ODD}/cog_rgba.tif",
    f"{ODD}/cog_tags.tif",
    f"{ODD}/clp.tif",
    f"{ODD}/rotated.tif",
    "satellite/aerial_hamburg_nocrs/dop20c_32587_5922.tif",
    "satellite/landsat5_nebraska_customcrs/sample_geotiff_custom_proj.tif",
    "satellite/landsat7_chiapas_8band/LE70220491999322EDC01_stack.gtif",
    "satellite/landsat8_mendoza_float64/LC82320832016040LGN00_sr_band2.tif",
    "satellite/sentinel2_lake_nodata/S2A2A_20190723_022_Barbellino_BOA_10.tif",
]


def part(path: Path, side: int = 96) -> xr.DataArray:
    """The first pixels of a raster, an odd number of them where it has as many."""
    return read(path)[:, : side - 1, : side + 4]


def assert_same_place(src: Any, dst: Any) -> None:
    """The corners are the same, and where four fine pixels meet is the centre of a coarse one."""
    if src.transform.is_identity:  # placed by control points, or not at all
        assert dst.transform.is_identity
        return
    corners = [(0, 0), (src.width, 0), (0, src.height), (src.width, src.height)]
    pixel = np.hypot(src.transform.a, src.transform.d)
    for col, row in corners:
        there, here = src.transform @ (col, row), dst.transform @ (2 * col, 2 * row)
        assert np.allclose(there, here, rtol=0, atol=1e-6 * pixel)
    rows, cols = np.array([0, src.height - 1]), np.array([0, src.width - 1])
    centre = np.array(src.transform @ (cols + 0.5, rows + 0.5))
    block = np.array(dst.transform @ (2 * cols + 1.0, 2 * rows + 1.0))  # where its four pixels meet
    np.testing.assert_allclose(block, centre, rtol=0, atol=1e-6 * pixel)


@pytest.mark.parametrize("name", REAL)
def test_a_result_lies_where_rasterio_sees_its_source(shared_data: Path, tmp_path: Path, name: str) -> None:
    da = part(shared_data / name)
    source = write(da, tmp_path / "in.tif")
    with rasterio.open(source) as src, rasterio.open(write(upscale(da, ESPCN), tmp_path / "out.tif")) as dst:
        assert dst.crs == src.crs
        assert dst.shape == (2 * src.height, 2 * src.width)
        assert_same_place(src, dst)
        points = [(p.row * 2, p.col * 2, p.x, p.y) for p in src.gcps[0]]
        assert [(p.row, p.col, p.x, p.y) for p in dst.gcps[0]] == [pytest.approx(point) for point in points]
        assert (dst.rpcs is None) == (src.rpcs is None)


@pytest.mark.parametrize("name", REAL)
def test_a_result_says_of_its_values_what_its_source_says(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    da = part(shared_data / name)
    source = write(da, tmp_path / "in.tif")
    with rasterio.open(source) as src, rasterio.open(write(upscale(da, ESPCN), tmp_path / "out.tif")) as dst:
        for fact in ("dtypes", "nodatavals", "scales", "offsets", "units", "descriptions", "colorinterp"):
            np.testing.assert_equal(getattr(dst, fact), getattr(src, fact), fact)
        added = {"history", "sr_model", "sr_model_sha256", "sr_version", "sr_scale"}
        tags = {
            key: text for key, text in dst.tags().items() if not key.startswith("sr_") and key not in added
        }
        assert tags == {key: text for key, text in src.tags().items() if key != "history"}
        assert [dst.tags(band) for band in dst.indexes] == [src.tags(band) for band in src.indexes]
        assert dst.mask_flag_enums == src.mask_flag_enums
        valid = src.dataset_mask().repeat(2, 0).repeat(2, 1) > 0
        if MaskFlags.nodata not in src.mask_flag_enums[0]:  # of which a band may have its own
            np.testing.assert_array_equal(dst.dataset_mask() > 0, valid)
        for band in range(1, src.count + 1):
            np.testing.assert_array_equal(
                dst.read_masks(band) > 0, src.read_masks(band).repeat(2, 0).repeat(2, 1) > 0
            )


def test_a_result_of_real_values_stays_in_their_neighbourhood(shared_data: Path, tmp_path: Path) -> None:
    """Casts round and clip: a wrapped overshoot would be thousands of counts away."""
    for name in (f"{DERIVED}/south_up_int16.tif", f"{DERIVED}/internal_mask_uint8.tif"):
        da = part(shared_data / name)
        sr = upscale(da, "cubic", scale=2)
        low, high = (float(f(da.where(da != da.attrs.get("_FillValue", -1)))) for f in (np.nanmin, np.nanmax))
        made = sr.where(sr != sr.attrs.get("_FillValue", -1))
        assert float(made.min()) >= low - 0.3 * (high - low)
        assert float(made.max()) <= high + 0.3 * (high - low)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("model", [ESPCN, COLOURS], ids=["bandwise", "three bands"])
def test_alpha_is_repeated_and_what_it_hides_is_not_seen(chunked: bool, model: Any) -> None:
    da = raster((4, 17, 22), dtype="uint8", low=90, high=200)
    da.attrs["color_interp"] = ("red", "green", "blue", "alpha")
    da.attrs["long_name"] = ("r", "g", "b", "a")
    da.values[3] = np.random.default_rng(0).integers(1, 255, (17, 22))
    da.values[3, 5:9, 3:11] = 0
    dark = da.copy(deep=True)
    dark.values[:3, 5:9, 3:11] = 0  # as most writers store it
    sr, other = (upscale(one.chunk(y=9, x=8) if chunked else one, model) for one in (da, dark))
    np.testing.assert_array_equal(sr[3], da.values[3].repeat(2, 0).repeat(2, 1))
    seen = sr.values[3] > 0
    np.testing.assert_array_equal(sr.values[:3, seen], other.values[:3, seen])
    np.testing.assert_array_equal(other.values[:3, ~seen], 0)
    assert sr.attrs["color_interp"] == da.attrs["color_interp"]
    assert sr.attrs["long_name"] == da.attrs["long_name"]
    assert sr.dtype == np.uint8


def test_alpha_may_be_any_band() -> None:
    da = raster((3, 9, 12), dtype="uint16").assign_attrs(color_interp=("gray", "alpha", "undefined"))
    da.values[1] = 40
    sr = upscale(da, ESPCN)
    plain = upscale(da.isel(band=[0, 2]).drop_attrs(), ESPCN)
    np.testing.assert_array_equal(sr[[0, 2]], plain)
    assert (sr[1] == 40).all()


def test_alpha_is_known_by_its_number_among_chosen_bands() -> None:
    da = raster((4, 9, 12), dtype="uint8").assign_attrs(color_interp=("red", "green", "blue", "alpha"))
    da.values[3, :, 5:] = 0
    for bands in ([4, 2], [4, 1, 2, 3]):
        sr = upscale(da.sel(band=bands), ESPCN)
        np.testing.assert_array_equal(sr.sel(band=4), da.sel(band=4).values.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("bands", [[3, 2, 1], [3], 3, [2, 3]])
def test_chosen_bands_take_along_what_is_said_of_them(bands: Any, tmp_path: Path) -> None:
    with rasterio.open(write(raster((3, 11, 14), dtype="int16"), tmp_path / "in.tif"), "r+") as dst:
        for band, name in enumerate(("blue", "green", "red"), 1):
            dst.set_band_description(band, name)
            dst.update_tags(band, CENTRE=str(400 + band))
        dst.scales, dst.offsets, dst.units = (0.1, 0.2, 0.3), (1, 2, 3), ("a", "b", "c")
        dst.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("blue", "green", "red")]
    path = write(upscale(read(tmp_path / "in.tif").sel(band=bands), ESPCN), tmp_path / "out.tif")
    with rasterio.open(tmp_path / "in.tif") as src, rasterio.open(path) as dst:
        for band, number in enumerate(np.atleast_1d(bands)):
            for fact in ("scales", "offsets", "units", "descriptions", "colorinterp"):
                assert getattr(dst, fact)[band] == getattr(src, fact)[number - 1]
            assert dst.tags(band + 1) == src.tags(int(number))


def test_a_real_rgba_keeps_its_alpha(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / f"{ODD}/cog_rgba.tif"
    path = write(upscale(read(source), COLOURS), tmp_path / "out.tif", format="cog")
    with rasterio.open(source) as src, rasterio.open(path) as dst:
        assert dst.colorinterp == src.colorinterp
        np.testing.assert_array_equal(dst.read(4), src.read(4).repeat(2, 0).repeat(2, 1))


def test_a_palette_image_goes_by_nearest(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / f"{ODD}/cog_cmap.tif"
    da = read(source)[:, 4000:4031, 3000:3050]
    with rasterio.open(write(upscale(da, ESPCN), tmp_path / "out.tif")) as dst:
        np.testing.assert_array_equal(dst.read(), da.values.repeat(2, 1).repeat(2, 2))
        assert len(dst.colormap(1)) == 256


@pytest.mark.parametrize("format", ["geotiff", "cog"])
def test_tags_of_any_name_and_the_colour_profile_are_kept(format: str, tmp_path: Path) -> None:
    da = raster((3, 11, 14), dtype="uint8").assign_attrs(color_interp=("red", "green", "blue"))
    tags = {
        "units": "degC",
        "long_name": "my image",
        "coordinates": "x y",
        "band_tags": "hello",
        "nodata": "-",
    }
    with rasterio.open(write(da.assign_attrs(icc_profile="AAAA"), tmp_path / "in.tif"), "r+") as dst:
        dst.update_tags(**tags)
        dst.update_tags(2, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.56")
    sr = upscale(read(tmp_path / "in.tif"), ESPCN)
    with rasterio.open(write(sr, tmp_path / "out.tif", format=format)) as dst:
        assert tags.items() <= dst.tags().items()
        assert [dst.tags(band, ns="IMAGERY") for band in (1, 2)] == [{}, {"CENTRAL_WAVELENGTH_UM": "0.56"}]
        assert dst.tags(ns="COLOR_PROFILE") == {"SOURCE_ICC_PROFILE": "AAAA"}
        assert not any(dst.units)


def sentinel2(path: Path, **tags: str) -> Path:
    """A raster with the numbers of a Sentinel-2 product in its tags."""
    values = np.rint(smooth((2, 14, 19), low=1100, high=4800)).astype(np.uint16)
    values[:, 3:5, 6] = 0
    with rasterio.open(
        path, "w", driver="GTiff", width=19, height=14, count=2, dtype="uint16", crs="EPSG:32632",
        transform=Affine(10, 0, 6e5, 0, -10, 5e6),
    ) as dst:  # fmt: skip
        dst.write(values)
        dst.update_tags(BOA_QUANTIFICATION_VALUE="10000", SPECIAL_VALUE_NODATA="0", **tags)
    return path


def test_sentinel2_offset_of_the_tags_is_stated_and_kept(tmp_path: Path) -> None:
    da = read(sentinel2(tmp_path / "a.tif", BOA_ADD_OFFSET="-1000"))
    assert da.attrs["scale_factor"] == pytest.approx(1e-4)
    assert da.attrs["add_offset"] == pytest.approx(-0.1)
    assert da.attrs["_FillValue"] == 0
    sr = upscale(da, ESPCN)
    with rasterio.open(write(sr, tmp_path / "out.tif")) as dst:
        assert dst.offsets == pytest.approx((-0.1, -0.1))
        assert dst.nodata == 0
        np.testing.assert_array_equal(dst.read(1) == 0, (da[0].values == 0).repeat(2, 0).repeat(2, 1))
        assert dst.read()[dst.read() > 0].min() > 500


def with_quality_bands(path: Path) -> Path:
    """A raster as a subdataset of level 2A: reflectance, aerosol and the scene classification."""
    values = np.rint(smooth((3, 14, 19), low=1100, high=4800)).astype(np.uint16)
    values[2] = np.indices((14, 19)).sum(0) % 2 * 7 + 4  # vegetation and snow
    with rasterio.open(
        path, "w", driver="GTiff", width=19, height=14, count=3, dtype="uint16", crs="EPSG:32632",
        transform=Affine(20, 0, 6e5, 0, -20, 5e6),
    ) as dst:  # fmt: skip
        dst.write(values)
        dst.update_tags(BOA_QUANTIFICATION_VALUE="10000", SPECIAL_VALUE_NODATA="0")
        for band, name in enumerate(("B5", "AOT", "SCL"), 1):
            dst.update_tags(band, BANDNAME=name)
        dst.update_tags(1, BOA_ADD_OFFSET="-1000")
    return path


def test_sentinel2_offset_stays_where_other_bands_have_none(tmp_path: Path) -> None:
    path = write(upscale(read(with_quality_bands(tmp_path / "a.tif")), ESPCN), tmp_path / "out.tif")
    with rasterio.open(path) as dst:
        assert dst.scales == pytest.approx((1e-4, 1, 1))
        assert dst.offsets == pytest.approx((-0.1, 0, 0))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("bands", [[1, 2, 3], [3, 1], [3], 3])
def test_sentinel2_scene_classes_among_bands_are_repeated(bands: Any, chunked: bool, tmp_path: Path) -> None:
    da = read(with_quality_bands(tmp_path / "a.tif")).sel(band=bands)
    sr = upscale(da if chunked else da.load(), ESPCN)
    one, other = (image.sel(band=3) if image.ndim == 3 else image for image in (da, sr))
    np.testing.assert_array_equal(other, one.values.repeat(2, 0).repeat(2, 1))
    if bands not in ([3], 3):
        np.testing.assert_array_equal(sr.sel(band=[1]), upscale(da.sel(band=[1]), ESPCN))


def test_sentinel2_offset_is_never_guessed(tmp_path: Path) -> None:
    assert "add_offset" not in read(sentinel2(tmp_path / "a.tif")).attrs


@pytest.mark.parametrize(("band", "offset"), [("B02", -0.1), ("B8A", -0.2)])
def test_sentinel2_offset_is_read_from_the_product_above_an_image(
    tmp_path: Path, band: str, offset: float
) -> None:
    folder = tmp_path / "S2A_MSIL2A.SAFE/GRANULE/L2A_T32/IMG_DATA/R20m"
    folder.mkdir(parents=True)
    (tmp_path / "S2A_MSIL2A.SAFE/MTD_MSIL2A.xml").write_text(
        "<a><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>\n<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>"
        '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
        '<BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET>'
        '<BOA_ADD_OFFSET band_id="8">-2000</BOA_ADD_OFFSET></a>'
    )
    for name in (band, "SCL"):
        with rasterio.open(sentinel2(tmp_path / "a.tif")) as src, rasterio.open(
            folder / f"T32_20230101_{name}_20m.jp2", "w", driver="JP2OpenJPEG", width=19, height=14, count=1,
            dtype="uint16", crs=src.crs, transform=src.transform, quality=100, reversible=True,
        ) as dst:  # fmt: skip
            dst.write(src.read(1) % 12 if name == "SCL" else src.read(1), 1)
    da = read(folder / f"T32_20230101_{band}_20m.jp2")
    assert da.attrs["add_offset"] == pytest.approx(offset)
    assert da.attrs["_FillValue"] == 0
    classes = read(folder / "T32_20230101_SCL_20m.jp2")
    assert classes.attrs["flag_meanings"].split()[9] == "cloud_high_probability"
    np.testing.assert_array_equal(upscale(classes, ESPCN), classes.values.repeat(2, 1).repeat(2, 2))


def test_values_in_decibels_and_negative_ones_are_no_special_case() -> None:
    decibels = raster((1, 11, 14), low=-28, high=3).assign_attrs(units="dB")
    sr = upscale(decibels, ESPCN)
    assert sr.attrs["units"] == "dB"
    np.testing.assert_allclose(sr - 50, upscale(decibels - 50, ESPCN), atol=1e-4)


FINE = {"y": 2, "x": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda da: da.assign_coords(x=da.x + 0.01), r"along x has its first edge"),
        (lambda da: da.assign_coords(y=da.y * 1.0001), r"along y has its pixels"),
        (lambda da: da.isel(x=slice(1, None)), r"along x has 41 pixels, not 42"),
        (
            lambda da: da.rio.write_transform(Affine(20, 0, 5e5, 0, -10, 4.1e6)),
            r"a corner .* by its GeoTransform",
        ),
    ],
)
def test_a_result_that_is_off_is_refused(change: Any, message: str) -> None:
    lr = raster((11, 14))
    sr = upscale(lr, "cubic", scale=FINE)
    check_overlay(lr, sr, FINE)
    with pytest.raises(GridError, match=message):
        check_overlay(lr, change(sr), FINE)


def test_every_result_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr_imaging.inference.upscaling.refine", lambda da, data, scale: da.copy(deep=True))
    with pytest.raises(GridError, match=r"along y has 7 pixels, not 14"):
        upscale(raster((7, 8)), "cubic", scale=2)


def test_colour_table_of_one_band_survives_as_json(shared_data: Path) -> None:
    da = upscale(read(shared_data / f"{ODD}/cog_cmap.tif")[:, :8, :9], "cubic", scale=2)
    assert len(json.loads(da.attrs["colour_table"])["1"]) == 256


def by_parameters(crs: str, unit: str, length: float, **more: float) -> xr.DataArray:
    """A raster whose CRS stands in CF's parameters alone, whose coords are in a unit of their own."""
    import pyproj

    da = raster((11, 14)).drop_vars("spatial_ref")
    facts = pyproj.CRS.from_user_input(crs).to_cf() | more
    del facts["crs_wkt"]
    da = da.assign_coords({dim: (dim, da.coords[dim].values / length, {"units": unit}) for dim in ("y", "x")})
    da.encoding["grid_mapping"] = "projection"
    return da.assign_coords(projection=((), 0, facts))


GEOS = "+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80"


@pytest.mark.parametrize(
    ("crs", "unit", "length"),
    [("EPSG:32615", "m", 1.0), ("EPSG:3413", "km", 1000.0), (GEOS, "rad", 35786023.0)],
)
def test_crs_of_parameters_and_its_unit_are_written(
    crs: str, unit: str, length: float, tmp_path: Path
) -> None:
    with rasterio.open(write(by_parameters(crs, unit, length), tmp_path / "a.tif")) as dst:
        assert dst.crs.to_dict() == rasterio.crs.CRS.from_user_input(crs).to_dict()
        # a micrometre: the division by the unit and back is rounded
        np.testing.assert_allclose(dst.transform.to_gdal(), (5e5, 20, 0, 4.1e6, 0, -10), rtol=0, atol=1e-6)


def test_crs_of_parameters_that_lack_one_is_refused(tmp_path: Path) -> None:
    da = by_parameters("EPSG:3413", "m", 1.0)
    del da.projection.attrs["straight_vertical_longitude_from_pole"]
    with pytest.raises(WriteError, match=r"the CRS of 'projection' is not understood: .*; write it anew"):
        write(da, tmp_path / "a.tif")
