"""The cases of `upscale`: each kind of input and what becomes of it."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from helpers.builders import fill_zoo, generator, raster, scan, smooth

from sr_imaging import GridError, InputTypeError, ModelError, upscale
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.volumes import affine
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import load_model, save_model

ESPCN = generator("espcn", scale=(2, 3))
BANDS = generator("espcn", scale=(2, 2), in_channels=3)
THROUGH = generator("espcn", scale=(4, 1), axes=("z", "plane"), channels=4)
both = pytest.mark.parametrize("chunked", [False, True])


def maybe_lazy(da: xr.DataArray, chunked: bool) -> xr.DataArray:
    return da.chunk({dim: max(1, n // 2) for dim, n in da.sizes.items()}) if chunked else da


def test_c1_without_coords_none_are_invented() -> None:
    sr = upscale(xr.DataArray(smooth((5, 6)), dims=("y", "x")), ESPCN)
    assert not sr.coords
    assert sr.shape == (10, 18)


def test_c2_descending_axis_keeps_its_first_edge() -> None:
    lr = xr.DataArray(
        smooth((10, 6)), dims=("y", "x"), coords={"y": np.arange(95.0, 0, -10), "x": np.arange(6.0)}
    )
    sr = upscale(lr, "cubic", scale=4)
    assert sr.y.values[0] == 98.75
    np.testing.assert_allclose(np.diff(sr.y), -2.5)


@both
def test_c3_raster_keeps_bands_and_gets_a_new_transform(chunked: bool) -> None:
    lr = raster((3, 9, 11)).assign_attrs(long_name=("blue", "green", "red"), AREA_OR_POINT="Area")
    sr = upscale(maybe_lazy(lr, chunked), ESPCN)
    assert sr.band.values.tolist() == [1, 2, 3]
    assert sr.attrs["long_name"] == ("blue", "green", "red")
    assert sr.rio.transform() == sr.rio.transform(recalc=True)
    assert sr.rio.transform() != lr.rio.transform()
    assert sr.rio.bounds() == pytest.approx(lr.rio.bounds(), abs=1e-6)
    assert sr.rio.crs == lr.rio.crs
    expected = (500_000.0, 20 / 3, 0.0, 4_100_000.0, 0.0, -5.0)
    assert sr.rio.transform().to_gdal() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shear", [0.0, 1.5])
def test_c4_rotated_raster_scales_its_transform(shear: float) -> None:
    numbers = [500_000.0, 8.0, 3.0 + shear, 4_100_000.0, 6.0, -9.0]
    x0, a, b, y0, d, e = numbers
    r, c = np.arange(5)[:, None] + 0.5, np.arange(7)[None, :] + 0.5
    coords = {"xc": (("y", "x"), x0 + a * c + b * r), "yc": (("y", "x"), y0 + d * c + e * r)}
    lr = xr.DataArray(smooth((5, 7)), dims=("y", "x"), coords=coords).rio.write_crs(32633)
    lr.spatial_ref.attrs["GeoTransform"] = " ".join(map(repr, numbers))
    sr = upscale(lr, ESPCN)
    assert sr.rio.transform().to_gdal() == pytest.approx((x0, a / 3, b / 2, y0, d / 3, e / 2), rel=1e-12)
    np.testing.assert_allclose(sr.xc.values.reshape(5, 2, 7, 3).mean((1, 3)), lr.xc, atol=1e-6)
    np.testing.assert_allclose(sr.yc.values.reshape(5, 2, 7, 3).mean((1, 3)), lr.yc, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "scale", "shape"),
    [
        ("cubic", {"z": 5}, (15, 5, 6)),
        ("cubic", (5, 1, 2), (15, 5, 12)),
        ("cubic", 2, (6, 10, 12)),
        (THROUGH, None, (12, 5, 6)),
        (THROUGH, 4, (12, 5, 6)),
        (THROUGH, {"z": 4}, (12, 5, 6)),
    ],
)
def test_c5_volume_is_refined_as_asked_and_keeps_its_place(model: Any, scale: Any, shape: Any) -> None:
    lr = scan((3, 5, 6))
    sr = upscale(lr, model, scale=scale)
    assert sr.shape == shape
    for key in ("origin", "direction", "modality", "frame_of_reference_uid"):
        assert sr.volume_ref.attrs[key] == lr.volume_ref.attrs[key]
    factors = np.array(shape) / lr.shape
    assert sr.volume_ref.attrs["spacing"] == pytest.approx(np.array([5.0, 0.8, 0.7]) / factors)
    shift = affine(lr) @ np.array([*(0.5 / factors - 0.5), 1])
    np.testing.assert_allclose(affine(sr)[:, 3], shift, atol=1e-9)


@both
def test_c6_leading_dims_are_done_image_by_image(chunked: bool) -> None:
    lr = xr.DataArray(
        smooth((3, 2, 7, 8)).astype(np.float32) * np.array([1, 10, 100], np.float32)[:, None, None, None],
        dims=("time", "ensemble", "y", "x"),
        coords={"time": np.array(["2020-01-01", "2020-02-01", "2020-03-01"], "datetime64[ns]")},
    )
    sr = upscale(maybe_lazy(lr, chunked), ESPCN)
    for t in range(3):
        alone = upscale(lr[t, 1], ESPCN)
        np.testing.assert_allclose(sr[t, 1], alone, atol=1e-6 * 10**t)
    assert sr.time.equals(lr.time)
    if chunked:
        assert sr.chunks[:2] == ((1, 1, 1), (1, 1))


def test_c7_bands_of_another_number_are_refused_with_both_sides() -> None:
    text = "ESPCN takes 3 bands together, but the array has band=4, y=5, x=6; select them"
    with pytest.raises(ModelError, match=re.escape(text)):
        upscale(raster((4, 5, 6)), BANDS)
    with pytest.raises(ModelError, match=re.escape("takes 3 bands together, but the array has y=5, x=6")):
        upscale(raster((5, 6)), BANDS)


def test_c7_bands_of_other_names_are_refused_with_both_sides(tmp_path: Path) -> None:
    arguments = {"scale": (2, 2), "in_channels": 3, "channels": 8}
    card = ModelCard.of(BANDS, name="rgb", architecture="espcn", arguments=arguments)
    save_model(BANDS, tmp_path / "rgb.safetensors", replace(card, bands=("red", "green", "blue")))
    lr = raster((3, 5, 6))
    model: Any = load_model(tmp_path / "rgb.safetensors")
    assert upscale(lr, model).shape == (3, 10, 12)  # without names their number has to do
    good = lr.assign_coords(band=["red", "green", "blue"])
    assert upscale(good, model).shape == (3, 10, 12)
    text = (
        "rgb takes the bands red, green, blue, but the array has blue, green, red; select them in that order"
    )
    with pytest.raises(ModelError, match=re.escape(text)):
        upscale(good.isel(band=[2, 1, 0]), model)
    with pytest.raises(ModelError, match=re.escape(text)):
        upscale(lr.assign_attrs(long_name=("blue", "green", "red")), model)


@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y", "x", "band"), ("x", "band", "y")])
def test_c7_bands_are_found_wherever_they_are(dims: tuple[str, ...]) -> None:
    lr = raster((3, 5, 6))
    np.testing.assert_allclose(
        upscale(lr.transpose(*dims), BANDS).transpose("band", "y", "x"), upscale(lr, BANDS), atol=1e-4
    )


def test_c8_dask_chunks_are_scaled() -> None:
    lr = raster((2, 16, 27)).chunk({"band": 1, "y": 8, "x": 9})
    sr = upscale(lr, ESPCN)
    assert sr.chunks == ((1, 1), (16, 16), (27, 27, 27))
    np.testing.assert_allclose(sr, upscale(lr.compute(), ESPCN), atol=1e-4)


def test_c8_thin_chunks_make_even_ones() -> None:
    lr = raster((2, 13, 15)).chunk({"y": 1, "x": (14, 1)})
    sr = upscale(lr, ESPCN)
    for axis in (1, 2):
        chunks = sr.chunks[axis]
        assert len(set(chunks[:-1])) <= 1
        assert chunks[-1] <= chunks[0]
    np.testing.assert_allclose(sr, upscale(lr.compute(), ESPCN), atol=1e-4)


@pytest.mark.parametrize("build", ["list", "masked", "none"])
def test_c15_other_containers_are_refused_by_their_name(build: str) -> None:
    obj: Any = {
        "list": lambda: [[1.0, 2.0]],
        "masked": lambda: np.ma.masked_less(raster((5, 6)).values, 50),
        "none": lambda: None,
    }[build]()
    text = f"cannot super-resolve a {type(obj).__name__}; give a DataArray, a Dataset or an array"
    with pytest.raises(InputTypeError, match=text):
        upscale(obj, "cubic", scale=2)


def test_c16_irregular_grid_is_refused_with_its_deviation() -> None:
    lr = raster((5, 6))
    x = lr.x.values.copy()
    x[3] += 1.0
    text = "coord 'x' is uneven: pixel 3 is 0.05 steps of 20 off the even grid (tolerance 0.001); resample"
    with pytest.raises(GridError, match=re.escape(text)):
        upscale(lr.assign_coords(x=x), ESPCN)


@pytest.mark.parametrize("missing", [["y"], ["x"], ["y", "x"]])
def test_c17_dim_without_coord_is_allowed(missing: list[str]) -> None:
    lr = raster((5, 6)).drop_vars([*missing, "spatial_ref"])
    sr = upscale(lr, ESPCN)
    whole = upscale(raster((5, 6)), ESPCN)
    for dim in ("y", "x"):
        assert (dim in sr.coords) == (dim not in missing)
        if dim in sr.coords:
            np.testing.assert_array_equal(sr[dim], whole[dim])
    np.testing.assert_array_equal(sr, whole)


def test_c17_raster_without_coords_keeps_its_place_by_its_transform() -> None:
    lr = raster((5, 6)).drop_vars(["y", "x"])
    sr = upscale(lr, ESPCN)
    expected = upscale(raster((5, 6)), ESPCN).rio.transform().to_gdal()
    assert sr.rio.transform().to_gdal() == pytest.approx(expected, rel=1e-12)
    assert sr.rio.bounds() == lr.rio.bounds()


@pytest.mark.parametrize("pick", [{"y": [2]}, {"x": [3]}, {"y": [0], "x": [5]}])
def test_c18_one_pixel_takes_its_spacing_from_the_transform(pick: dict[str, list[int]]) -> None:
    lr = raster((5, 6)).isel(pick)
    sr = upscale(lr, ESPCN)
    whole = upscale(raster((5, 6)), ESPCN)
    np.testing.assert_allclose(sr.y, whole.sel(y=sr.y, method="nearest").y)
    np.testing.assert_allclose(sr.x, whole.sel(x=sr.x, method="nearest").x)
    assert geo_transform(sr) == pytest.approx(
        [float(sr.x[0]) - 10 / 3, 20 / 3, 0, float(sr.y[0]) + 2.5, 0, -5]
    )


def test_c18_one_slice_takes_its_spacing_from_the_volume() -> None:
    lr = scan((5, 6, 7)).isel(z=[2])
    sr = upscale(lr, THROUGH)
    np.testing.assert_allclose(sr.z, 10 + np.array([-1.875, -0.625, 0.625, 1.875]))


def test_c18_one_pixel_without_spacing_has_no_coord_and_a_warning() -> None:
    lr = xr.DataArray(smooth((1, 5)), dims=("y", "x"), coords={"y": [3.0], "x": np.arange(5.0)})
    with pytest.warns(UserWarning, match="'y' has one pixel and no stated spacing, so the result"):
        sr = upscale(lr, ESPCN)
    assert sr.shape == (2, 15)
    assert "y" not in sr.coords


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3)])
def test_c18_image_smaller_than_the_halo_is_done(shape: tuple[int, int]) -> None:
    sr = upscale(raster(shape), generator("srresnet", scale=(2, 2), blocks=2))
    assert np.isfinite(sr).all()
    assert sr.shape == (shape[0] * 2, shape[1] * 2)


@pytest.mark.parametrize(
    ("y", "name"),
    [
        (np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]"), "datetime64[ns]"),
        (np.array(["a", "b"]), "<U1"),
    ],
)
def test_c19_spatial_coord_that_is_no_number_is_refused(y: np.ndarray, name: str) -> None:
    lr = xr.DataArray(smooth((2, 3)), dims=("y", "x"), coords={"y": y})
    with pytest.raises(InputTypeError, match=re.escape(f"spatial coord 'y' has dtype {name}")):
        upscale(lr, ESPCN)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[ns]", "timedelta64[ns]", "object", "U4"])
@both
def test_c19_values_that_are_no_real_numbers_are_refused(dtype: str, chunked: bool) -> None:
    lr = xr.DataArray(np.ones((5, 6)).astype(dtype), dims=("y", "x"))
    with pytest.raises(TypeError, match=re.escape("values of dtype")):
        upscale(maybe_lazy(lr, chunked), ESPCN)


@both
def test_c20_attrs_say_how_it_was_made(chunked: bool) -> None:
    lr = raster((5, 6)).assign_attrs(units="1", history="2020-01-01 born", nested={"a": 1})
    sr = upscale(maybe_lazy(lr, chunked), ESPCN)
    first, second = sr.attrs["history"].split("\n")
    assert first == "2020-01-01 born"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ sr_imaging \S+: upscale by 2 3 with ESPCN", second)
    assert sr.attrs["units"] == "1"
    assert sr.attrs["nested"] == {"a": 1}
    assert sr.attrs["sr_model"] == "ESPCN"
    assert re.fullmatch("[0-9a-f]{64}", sr.attrs["sr_model_sha256"])
    assert sr.attrs["sr_scale"] == "2 3"
    for key in (
        "sr_model",
        "sr_model_sha256",
        "sr_version",
        "sr_scale",
        "sr_precision",
        "sr_device",
        "sr_halo",
    ):
        assert type(sr.attrs[key]) is str


def test_c20_second_pass_adds_one_line() -> None:
    twice = upscale(upscale(raster((5, 6)), ESPCN), "cubic", scale=2)
    assert len(twice.attrs["history"].split("\n")) == 2
    assert twice.attrs["sr_model"] == "cubic"


def test_c21_encoding_is_kept_but_for_chunks() -> None:
    lr = raster((6, 8))
    keep = {"_FillValue": -1.0, "zlib": True, "complevel": 4, "grid_mapping": "spatial_ref"}
    drop = ("chunks", "preferred_chunks", "chunksizes", "shards", "original_shape", "source")
    lr.encoding = {**keep, **dict.fromkeys(drop, (3, 4))}
    sr = upscale(lr, ESPCN)
    assert sr.encoding == keep
    assert sr.name == "reflectance"


@pytest.mark.parametrize("names", [("lat", "lon"), ("latitude", "longitude")])
def test_c22_degrees_are_refined_on_their_grid(names: tuple[str, str]) -> None:
    lr = xr.DataArray(
        smooth((5, 6)),
        dims=names,
        coords={
            names[0]: (names[0], np.linspace(47, 46, 5), {"units": "degrees_north"}),
            names[1]: (names[1], np.linspace(10, 12, 6), {"units": "degrees_east"}),
        },
    )
    sr = upscale(lr, ESPCN)
    assert sr[names[0]].attrs["units"] == "degrees_north"
    np.testing.assert_allclose(np.diff(sr[names[0]]), -0.125)
    np.testing.assert_allclose(np.diff(sr[names[1]]), 0.4 / 3)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_zoo(tmp_path, spacing_range=(3.0, 6.0), spacing_unit="mm")
    monkeypatch.setattr("sr_imaging.inference.model_choice.ZOO", tmp_path)
    monkeypatch.setattr("sr_imaging.models.model_file.ZOO", tmp_path)


@pytest.mark.usefixtures("trained")
def test_c23_spacing_outside_the_trained_range_warns_with_the_numbers() -> None:
    lr = scan((3, 5, 6), spacing=(9.0, 0.8, 0.7))
    text = "ct-through-x4: z spacing 9 outside the trained 3 to 6 mm; check the result"
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        upscale(lr)
    assert caught[0].filename == __file__
    with pytest.raises(ModelError, match="ct-through-x4 does not fit: z spacing 9 outside"):
        upscale(lr, strict=True)
    assert upscale(scan((3, 5, 6)), strict=True).sizes["z"] == 12


@pytest.mark.usefixtures("trained")
def test_c23_other_modality_warns() -> None:
    with pytest.warns(UserWarning, match="mr-through-x4: modality PT where it was trained on MR"):
        upscale(scan((3, 5, 6), modality="PT"))


@pytest.mark.usefixtures("trained")
def test_c23_auto_on_a_raster_and_on_flags() -> None:
    assert upscale(raster((5, 6), step=(-4, 5))).attrs["sr_model"] == "raster-x2"
    assert upscale(raster((5, 6)) > 3).dtype == bool


@pytest.mark.parametrize("target", [(4.0, 7.0), (3.0, 20.0), (9.9, 3.3)])
def test_c24_target_spacing_is_exact_and_the_first_edge_stays(target: tuple[float, float]) -> None:
    lr = raster((7, 9))
    sr = upscale(lr, "cubic", spacing=dict(zip(("y", "x"), target, strict=True)))
    assert sr.shape == (round(70 / target[0]), round(180 / target[1]))
    x0, dx, _, y0, _, dy = sr.rio.transform().to_gdal()
    assert (x0, y0) == pytest.approx((500_000, 4_100_000), abs=1e-6)
    assert (dx, dy) == pytest.approx((target[1], -target[0]), rel=1e-9)
    assert abs(x0 + dx * sr.sizes["x"] - 500_180) <= target[1] / 2 + 1e-6
    assert abs(y0 + dy * sr.sizes["y"] - 4_099_930) <= target[0] / 2 + 1e-6


def test_c23_degrees_are_compared_in_metres(tmp_path: Path) -> None:
    card = replace(ModelCard.of(ESPCN, name="m", architecture="espcn", arguments={}), spacing_unit="m")
    model = deepcopy(ESPCN)
    model.card = replace(card, spacing_range=(80.0, 100.0))
    lr = xr.DataArray(
        smooth((5, 6)),
        dims=("y", "x"),
        coords={"y": 47 - np.arange(5) / 1200, "x": 10 + np.arange(6) / 1200},
    ).rio.write_crs("EPSG:4326")
    upscale(lr, model)  # 3 seconds of arc are 93 m
    with pytest.warns(UserWarning, match=r"y spacing 185\.533 outside the trained 80 to 100 m"):
        upscale(lr.isel(y=slice(None, None, 2)), model)


@both
@pytest.mark.parametrize(("low", "warned"), [(0.0, False), (-40.0, True)])
def test_c23_values_outside_the_trained_range_are_told_with_the_numbers(
    low: float, warned: bool, chunked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = {"scale": (2, 2), "fixed_values": (100.0, 50.0)}
    model = generator("transposed", **arguments)
    card = ModelCard.of(model, name="m", architecture="transposed", arguments=arguments)
    model.card = replace(card, value_range=(0.0, 200.0))
    lr = maybe_lazy(raster((8, 12), low=low, high=200).assign_attrs(_FillValue=np.float32(-9999)), chunked)
    lr = lr.where(lr.x > lr.x[1], -9999)  # nodata is no value
    upscale(lr, model).compute()
    told = [text for text in caplog.messages if "outside the trained 0 to 200; check the result" in text]
    assert bool(told) == warned
    assert not warned or float(told[0].split()[2]) < -2
    if warned:
        with pytest.raises(
            ModelError, match=r"values from -\S+ to \S+ lie outside the trained 0 to 200; drop"
        ):
            upscale(lr, model, strict=True).compute()
    else:
        upscale(lr, model, strict=True).compute()


def test_c23_an_equivariant_model_takes_any_values(caplog: pytest.LogCaptureFixture) -> None:
    model = deepcopy(ESPCN)
    card = ModelCard.of(model, name="m", architecture="espcn", arguments={})
    model.card = replace(card, value_range=(0.0, 1.0))
    upscale(raster((8, 12)), model, strict=True)
    assert "trained" not in caplog.text
