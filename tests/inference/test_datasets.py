"""Datasets and trees: what goes through the model, what is repeated, what is interpolated, what passes."""

from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from helpers.builders import generator, raster, scan, smooth

from sr_imaging import GridError, InputTypeError, ModelError, upscale
from sr_imaging.image.grid.reference import edges

ESPCN = generator("espcn", scale=(2, 3))
both = pytest.mark.parametrize("chunked", [False, True])


def cube() -> xr.Dataset:
    """A raster of 2 times with classes, a line of heights, names of rows, and a table without pixels."""
    image = raster((7, 9)).drop_vars("spatial_ref")
    rng = np.random.default_rng(3)
    ds = xr.Dataset(
        {
            "red": (("time", "y", "x"), smooth((2, 7, 9), seed=1).astype(np.float32), {"units": "1"}),
            "nir": (("y", "x"), np.rint(smooth((7, 9), seed=2, high=900)).astype(np.uint16)),
            "cloud": (("y", "x"), rng.integers(0, 2, (7, 9)).astype(bool)),
            "height": (("y",), np.array([0.0, 2, 4, 6, 8, 10, 12]), {"units": "m"}),
            "count": (("time", "x"), np.arange(18, dtype=np.int16).reshape(2, 9) * 10),
            "row": (("y",), np.array(list("abcdefg"))),
            "gain": (("time",), [1.5, 2.5]),
        },
        coords={"y": image.y, "x": image.x, "time": [10, 20], "site": "here"},
        attrs={"title": "cube", "history": "born"},
    )
    return ds.rio.write_crs(32633).rio.write_transform()


@both
def test_images_are_those_of_the_single_calls(chunked: bool) -> None:
    ds = cube().chunk({"y": 4, "x": 5}) if chunked else cube()
    sr = upscale(ds, ESPCN)
    assert isinstance(sr, xr.Dataset)
    assert list(sr.data_vars) == list(ds.data_vars)
    for name in ("red", "nir", "cloud"):
        alone = upscale(ds[name], ESPCN)
        np.testing.assert_array_equal(sr[name], alone)
        assert sr[name].dtype == ds[name].dtype
        assert sr[name].attrs.keys() == alone.attrs.keys()
    assert sr["cloud"].attrs["sr_model"] == "nearest"


@both
def test_grid_of_the_dataset_is_refined_once_for_all(chunked: bool) -> None:
    ds = cube().chunk({"y": 4, "x": 5}) if chunked else cube()
    sr = upscale(ds, ESPCN)
    alone = upscale(ds["nir"], ESPCN)
    for dim in ("y", "x"):
        np.testing.assert_array_equal(sr[dim], alone[dim])
        assert edges(sr["red"], dim) == pytest.approx(edges(ds["red"], dim))
    assert sr.rio.transform() == sr.rio.transform(recalc=True) == alone.rio.transform()
    assert sr.rio.crs == ds.rio.crs
    assert sr["site"] == "here"
    assert sr.indexes["time"].equals(ds.indexes["time"])


def test_numbers_on_one_refined_dim_are_interpolated() -> None:
    sr = upscale(cube(), ESPCN)
    inside = np.arange(14) / 2 - 0.25
    np.testing.assert_allclose(sr["height"], 2 * np.clip(inside, 0, 6))  # the border is replicated
    np.testing.assert_array_equal(sr["count"][0, 1:4], [0, 3, 7])
    assert sr["count"].dtype == np.int16
    assert sr["height"].attrs == {"units": "m"}


def test_what_holds_no_numbers_is_repeated() -> None:
    assert "".join(upscale(cube(), ESPCN)["row"].values) == "aabbccddeeffgg"


def test_what_has_no_spatial_dim_passes() -> None:
    ds = cube()
    xr.testing.assert_identical(upscale(ds, ESPCN)["gain"].variable, ds["gain"].variable)


def test_invalid_numbers_beside_the_images_spread_no_further_than_their_block() -> None:
    ds = cube()
    ds["height"][2] = np.nan
    height = upscale(ds, ESPCN)["height"]
    np.testing.assert_array_equal(np.isnan(height), np.isin(np.arange(14), [4, 5]))


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    ds = cube().chunk({"y": 4, "x": 5})

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed early")

    with dask.config.set(scheduler=refuse):
        sr = upscale(ds, ESPCN)
    for name in ("red", "nir", "cloud", "height", "count", "row"):
        assert isinstance(sr[name].data, dask.array.Array)


def test_input_is_never_changed() -> None:
    ds = cube()
    before = ds.copy(deep=True)
    sr = upscale(ds, ESPCN)
    sr["red"][:] = 0
    sr.attrs["new"] = sr["gain"].attrs["new"] = sr["x"].attrs["new"] = 1
    xr.testing.assert_identical(ds, before)


def test_history_of_the_dataset_gets_one_line() -> None:
    first, second = upscale(cube(), ESPCN).attrs["history"].split("\n")
    assert first == "born"
    assert "upscale by 2 3 with ESPCN" in second


@pytest.mark.parametrize("coords", ["all", "coordinates"])
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_file_to_file_keeps_bounds_and_grid_mapping(tmp_path: Path, suffix: str, coords: Any) -> None:
    lat, lon = 50 - 0.5 * np.arange(6), 8 + 0.25 * np.arange(7)
    ds = xr.Dataset(
        {
            "t": (("lat", "lon"), smooth((6, 7)).astype(np.float32), {"grid_mapping": "crs"}),
            "lat_bnds": (("lat", "bnds"), np.stack([lat - 0.25, lat + 0.25], 1)),
            "lon_bnds": (("lon", "bnds"), np.stack([lon - 0.125, lon + 0.125], 1)),
            "crs": (
                (),
                0,
                {"grid_mapping_name": "latitude_longitude", "GeoTransform": "7.875 .25 0 50.25 0 -.5"},
            ),
        },
        coords={"lat": ("lat", lat, {"bounds": "lat_bnds"}), "lon": ("lon", lon, {"bounds": "lon_bnds"})},
    )
    write = {"nc": ds.to_netcdf, "zarr": lambda path: ds.to_zarr(path, zarr_format=2)}[suffix]
    write(tmp_path / f"lr.{suffix}")
    engine = {"nc": "netcdf4", "zarr": "zarr"}[suffix]
    with xr.open_dataset(tmp_path / f"lr.{suffix}", decode_coords=coords, chunks={}, engine=engine) as opened:
        sr = upscale(opened, "cubic", scale=(2, 4))
        names = set(opened.data_vars)
        sr.to_netcdf(tmp_path / "sr.nc")
    with xr.open_dataset(tmp_path / "sr.nc", decode_coords=coords) as back:
        assert set(back.data_vars) == names
        np.testing.assert_allclose(back.lat_bnds.values.mean(1), back.lat, atol=1e-12)
        np.testing.assert_allclose(np.diff(back.lat_bnds)[:, 0], 0.25)
        np.testing.assert_allclose(back.lat_bnds[[0, -1]], [[50, 50.25], [47.25, 47.5]])
        np.testing.assert_allclose(back.lon_bnds[1:, 0], back.lon_bnds[:-1, 1])
        numbers = [float(v) for v in back["crs"].attrs["GeoTransform"].split()]
        assert numbers == pytest.approx([7.875, 0.0625, 0, 50.25, 0, -0.25])


def test_bounds_with_vertices_are_left_out_with_a_warning() -> None:
    ds = cube()
    ds = ds.assign_coords(lat=(("y", "x"), smooth((7, 9)), {"bounds": "corners"}))
    ds["corners"] = (("y", "x", "vertex"), smooth((7, 9, 4)))
    with pytest.warns(
        UserWarning, match="the cell bounds 'corners' have no place on the fine grid; left out"
    ):
        sr = upscale(ds, ESPCN)
    assert "corners" not in sr
    assert sr["lat"].shape == (14, 27)


def test_volume_leads_and_its_planes_follow() -> None:
    volume = scan((4, 6, 7))
    ds = xr.Dataset({"ct": volume, "mean": volume.mean("z")})
    sr = upscale(ds, "cubic", scale={"z": 2, "x": 3})
    np.testing.assert_array_equal(sr["ct"], upscale(volume, "cubic", scale={"z": 2, "x": 3}))
    assert sr["mean"].shape == (6, 21)
    assert sr.volume_ref.attrs["spacing"] == pytest.approx((2.5, 0.8, 0.7 / 3))


def test_target_spacing_holds_for_all() -> None:
    sr = upscale(cube(), "cubic", spacing={"y": 4.0, "x": 7.0})
    assert (sr.sizes["y"], sr.sizes["x"]) == (18, 26)
    assert sr["row"].size == sr["height"].size == 18
    assert sr["red"].shape == (2, 18, 26)


def test_progress_of_all_images_is_one() -> None:
    seen: list[tuple[int, int]] = []
    upscale(cube().drop_vars("cloud"), ESPCN, progress=lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [2000] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (2000, 2000)


def test_dataset_without_images_is_refused() -> None:
    ds = xr.Dataset({"a": ("x", [1.0, 2.0]), "b": (("y", "x"), [["u", "v"]])})
    text = r"the Dataset has no variable of real numbers with dims y and x, only a \('x',\), b \('y', 'x'\)"
    with pytest.raises(InputTypeError, match=text):
        upscale(ds, ESPCN)


def test_two_grids_in_one_dataset_are_refused() -> None:
    ds = xr.Dataset({"a": (("y", "x"), smooth((3, 4))), "b": (("lat", "lon"), smooth((5, 6)))})
    with pytest.raises(GridError, match=r"the variables lie on the grids \(lat, lon\) and \(y, x\); select"):
        upscale(ds, ESPCN)


def test_error_of_an_image_is_that_of_the_single_call() -> None:
    with pytest.raises(ModelError, match="refines y by 2, x by 3, not 5"):
        upscale(cube(), ESPCN, scale=5)


def tree() -> xr.DataTree:
    """A scene with groups of 10 m and of 30 m, coords above the images, and a group of notes."""
    fine, coarse = raster((8, 10)), raster((3, 5), step=(-30, 30))
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"scene": "S2"}),
            "/r10": fine.to_dataset(name="b02").drop_vars("b02"),
            "/r10/bands": fine.to_dataset(name="b02"),
            "/r30": coarse.to_dataset(name="b01"),
            "/notes": xr.Dataset({"text": ("line", ["a", "b"])}),
        },
        name="scene",
    )


@both
def test_tree_is_refined_group_by_group(chunked: bool) -> None:
    lr = tree().chunk({"y": 2}) if chunked else tree()
    sr = upscale(lr, ESPCN)
    assert isinstance(sr, xr.DataTree)
    assert [node.path for node in sr.subtree] == [node.path for node in lr.subtree]
    assert (sr.name, sr.attrs["scene"]) == ("scene", "S2")
    for path in ("/r10/bands/b02", "/r30/b01"):
        np.testing.assert_array_equal(sr[path], upscale(lr[path], ESPCN))
        np.testing.assert_array_equal(sr[path]["y"], upscale(lr[path], ESPCN)["y"])
    assert sr["/r10"].sizes["y"] == 16
    xr.testing.assert_identical(sr["/notes"].to_dataset(), lr["/notes"].to_dataset())


def test_tree_is_saved_and_opened_again(tmp_path: Path) -> None:
    sr = upscale(tree(), ESPCN)
    sr.to_netcdf(tmp_path / "sr.nc")
    with xr.open_datatree(tmp_path / "sr.nc", engine="netcdf4") as back:
        np.testing.assert_array_equal(back["/r10/bands/b02"], sr["/r10/bands/b02"])
        np.testing.assert_array_equal(back["/r30"]["x"], sr["/r30"]["x"])


def test_tree_without_images_is_refused() -> None:
    with pytest.raises(InputTypeError, match="the DataTree has no variable of real numbers"):
        upscale(tree()["/notes"], ESPCN)


@pytest.mark.parametrize("dims", [("y",), ("x",), ("y", "x")])
def test_group_above_images_that_has_some_of_their_coords_is_refined_with_them(dims: tuple[str, ...]) -> None:
    image = raster((11, 14)).drop_vars("spatial_ref")
    above = xr.Dataset(coords={dim: image.coords[dim] for dim in dims})
    above["aux"] = (dims[0], np.arange(float(image.sizes[dims[0]])))
    tree = xr.DataTree.from_dict({"/": above, "/g": xr.Dataset({"a": image.drop_vars(dims)})})
    sr = upscale(tree, ESPCN)
    assert sr["/g"]["a"].shape == (22, 42)
    assert sr["/aux"].shape == (22 if dims[0] == "y" else 42,)
    alone = upscale(image, ESPCN)
    for dim in dims:
        np.testing.assert_array_equal(sr["/g"].coords[dim], alone.coords[dim])
