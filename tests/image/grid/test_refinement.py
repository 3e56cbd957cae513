"""Laws of the grid: outer edges stay, blocks average to their coarse centre, the world agrees."""

import copy
import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
from helpers.builders import fine_like, oblique, raster, scan
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_imaging import GridError, InputTypeError
from sr_imaging.image.grid.axes import check_grid, fine_centres, spatial_dims
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.reference import edges
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.grid.volumes import affine, volume

quick = settings(max_examples=40, deadline=None)
firsts = st.floats(-1e7, 1e7)
steps = st.floats(1e-4, 1e4).flatmap(lambda d: st.sampled_from([d, -d]))
sizes = st.integers(2, 40)
scales = st.integers(1, 8)


@quick
@given(firsts, steps, sizes, scales)
def test_fine_centres_keep_outer_edges(first: float, step: float, n: int, scale: int) -> None:
    coarse = first + step * np.arange(n)
    fine = fine_centres(coarse, scale)
    d = (coarse[-1] - coarse[0]) / (n - 1)
    rounding = 8 * np.spacing(np.abs(coarse).max() + abs(d))  # of the coordinate itself
    assert abs((fine[0] - d / scale / 2) - (coarse[0] - d / 2)) <= rounding
    assert abs((fine[-1] + d / scale / 2) - (coarse[-1] + d / 2)) <= rounding


@quick
@given(firsts, steps, sizes, scales)
def test_fine_centres_average_to_their_coarse_centre(first: float, step: float, n: int, scale: int) -> None:
    coarse = first + step * np.arange(n)
    blocks = fine_centres(coarse, scale).reshape(n, scale)
    shift = np.abs(blocks.mean(1) - coarse).max()
    assert shift <= 16 * np.spacing(np.abs(coarse).max() + abs(step))


@quick
@given(steps, sizes, st.floats(0.3, 9.7))
def test_fine_centres_of_any_scale_keep_first_edge_and_spacing(step: float, n: int, scale: float) -> None:
    coarse = 7.0 + step * np.arange(n)
    fine = fine_centres(coarse, scale, step)
    assert len(fine) == max(1, round(n * scale))
    assert fine[0] - step / scale / 2 == pytest.approx(7.0 - step / 2, abs=1e-9 * abs(step) + 1e-12)
    np.testing.assert_allclose(np.diff(fine), step / scale, rtol=1e-9, atol=1e-11)
    if len(fine) > 1:
        moved = fine[-1] + step / scale / 2 - (coarse[-1] + step / 2)
        assert abs(moved) <= abs(step / scale) * (0.5 + 1e-6)


def test_fine_centres_follow_the_specified_example() -> None:
    fine = fine_centres(np.arange(95.0, 0.0, -10.0), 4)
    assert fine[0] == 98.75
    np.testing.assert_allclose(np.diff(fine), -2.5)


def test_fine_centres_of_one_pixel_need_a_step() -> None:
    with pytest.raises(GridError, match="one pixel has no spacing of its own; give its step"):
        fine_centres(np.array([3.0]), 2)
    np.testing.assert_array_equal(fine_centres(np.array([3.0]), 2, -4.0), [4.0, 2.0])


@pytest.mark.parametrize("step", [(-10.0, 20.0), (10.0, 20.0), (-10.0, -20.0), (0.25, -0.125)])
@pytest.mark.parametrize("scale", [{"y": 2, "x": 2}, {"y": 4, "x": 1}, {"y": 3, "x": 5}])
def test_refine_keeps_edges_in_every_direction(step: tuple[float, float], scale: dict[str, int]) -> None:
    lr = raster((5, 7), step=step)
    hr = fine_like(lr, scale)
    for dim, d in zip(("y", "x"), step, strict=True):
        assert edges(hr, dim) == pytest.approx(edges(lr, dim), abs=1e-7 * abs(d))
        assert np.sign(hr[dim][1] - hr[dim][0]) == np.sign(d)


@quick
@given(firsts, firsts, steps, steps, st.integers(1, 9), st.integers(1, 9), scales, scales)
def test_refined_geo_transform_is_that_of_the_coords(
    x0: float, y0: float, dy: float, dx: float, rows: int, cols: int, sy: int, sx: int
) -> None:
    lr = raster((rows + 1, cols + 1), origin=(x0, y0), step=(dy, dx))
    hr = fine_like(lr, {"y": sy, "x": sx})
    assert hr.rio.transform() == hr.rio.transform(recalc=True)
    assert hr.rio.crs == lr.rio.crs
    # bounds to 1e-6 of a pixel, unless the coordinates themselves are coarser than that
    for old, new, d in zip(lr.rio.bounds(), hr.rio.bounds(), (dx, dy, dx, dy), strict=True):
        assert new == pytest.approx(old, abs=1e-6 * abs(d) + 16 * np.spacing(abs(x0) + abs(y0) + 4e5))


def test_refined_raster_of_one_pixel_takes_its_spacing_from_geo_transform() -> None:
    lr = raster((6, 8)).isel(y=[2], x=[3])
    hr = fine_like(lr, {"y": 2, "x": 4})
    np.testing.assert_allclose(hr.y, lr.y.item() + np.array([2.5, -2.5]))
    np.testing.assert_allclose(hr.x, lr.x.item() + np.array([-7.5, -2.5, 2.5, 7.5]))
    assert geo_transform(hr) == [lr.x.item() - 10, 5.0, 0.0, lr.y.item() + 5, 0.0, -5.0]


def test_refined_axis_of_one_pixel_without_spacing_loses_its_coord_with_a_warning() -> None:
    lr = xr.DataArray(np.zeros((1, 3)), dims=("y", "x"), coords={"y": [4.0], "x": [1.0, 2, 3]})
    with pytest.warns(UserWarning, match="'y' has one pixel and no stated spacing"):
        hr = fine_like(lr, {"y": 2, "x": 2})
    assert "y" not in hr.coords
    np.testing.assert_array_equal(hr.x, [0.75, 1.25, 1.75, 2.25, 2.75, 3.25])


def test_refined_raster_without_coords_gets_a_scaled_geo_transform() -> None:
    lr = raster((4, 6)).drop_vars(["y", "x"])
    hr = fine_like(lr, {"y": 2, "x": 5})
    assert hr.rio.transform().to_gdal() == (500_000.0, 4.0, 0.0, 4_100_000.0, 0.0, -5.0)
    assert hr.rio.bounds() == lr.rio.bounds()


def test_refined_transform_and_res_attrs_are_rewritten() -> None:
    lr = raster((4, 6)).drop_vars("spatial_ref")
    lr.attrs.update(transform=(20.0, 0.0, 500_000.0, 0.0, -10.0, 4_100_000.0), res=(20.0, 10.0))
    hr = fine_like(lr, {"y": 2, "x": 4})
    assert tuple(hr.attrs["transform"])[:6] == (5.0, 0.0, 500_000.0, 0.0, -5.0, 4_100_000.0)
    assert hr.attrs["res"] == (5.0, 5.0)


@pytest.mark.parametrize("transform", ["1 2 3 4 5 6", 7.0, (1, 2), None, ("a",) * 6])
def test_refine_keeps_attrs_that_only_share_a_name(transform: Any) -> None:
    lr = raster((4, 6)).assign_attrs(transform=transform, res="10 m")
    assert fine_like(lr, {"y": 2}).attrs == lr.attrs


@quick
@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(0.2, 9)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
)
def test_affine_of_an_oblique_volume_is_exact(angles: Any, space: Any, shape: Any) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = oblique(angles) * np.array(space)
    matrix[:3, 3] = (-250.5, 180.25, -1400.0)
    np.testing.assert_allclose(affine(volume(np.zeros(shape), matrix)), matrix, rtol=0, atol=1e-9)


@quick
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.integers(1, 5)] * 3))
def test_affine_of_a_refined_volume_keeps_its_corner(angles: Any, factors: Any) -> None:
    lr = scan((3, 4, 5), angles=angles)
    hr = fine_like(lr, dict(zip("zyx", factors, strict=True)))
    corner = np.array([-0.5, -0.5, -0.5, 1])
    far = np.array([*(n - 0.5 for n in lr.shape), 1])
    fine_far = np.array([*(n - 0.5 for n in hr.shape), 1])
    np.testing.assert_allclose(affine(hr) @ corner, affine(lr) @ corner, rtol=0, atol=1e-9)
    np.testing.assert_allclose(affine(hr) @ fine_far, affine(lr) @ far, rtol=0, atol=1e-9)


def test_affine_of_a_cropped_volume_moves_with_the_crop() -> None:
    lr = scan((5, 6, 7))
    part = lr.isel(z=slice(1, 4), y=slice(2, 6), x=slice(3, 7))
    index = np.array([1, 2, 3, 1])
    np.testing.assert_allclose(affine(part)[:, 3], affine(lr) @ index, rtol=0, atol=1e-9)


@pytest.mark.parametrize("z", [slice(1, 4), slice(2, 3)])
def test_volume_crop_then_refine_is_refine_then_crop(z: slice) -> None:
    lr, scale = scan((5, 6, 7)), {"z": 5, "y": 2}
    first = fine_like(lr.isel(z=z, y=slice(2, 6)), scale)
    second = fine_like(lr, scale).isel(z=slice(z.start * 5, z.stop * 5), y=slice(4, 12))
    np.testing.assert_allclose(affine(first), affine(second), rtol=0, atol=1e-9)


def test_raster_crop_then_refine_is_refine_then_crop() -> None:
    lr, scale = raster((9, 8)), {"y": 3, "x": 2}
    first = fine_like(lr.isel(y=slice(2, 7), x=slice(5, 8)), scale)
    second = fine_like(lr, scale).isel(y=slice(6, 21), x=slice(10, 16))
    np.testing.assert_allclose(first.y, second.y, rtol=0, atol=1e-7)
    np.testing.assert_allclose(first.x, second.x, rtol=0, atol=1e-7)
    assert geo_transform(first) == pytest.approx(geo_transform(second), abs=1e-7)


def test_refine_twice_is_refine_at_once() -> None:
    lr = scan((3, 4, 5))
    twice = fine_like(fine_like(lr, {"z": 2, "x": 3}), {"z": 2})
    np.testing.assert_allclose(affine(twice), affine(fine_like(lr, {"z": 4, "x": 3})), rtol=0, atol=1e-9)


def test_affine_of_one_slice_counts_its_scalar_coord() -> None:
    lr = scan((5, 6, 7))
    np.testing.assert_allclose(affine(lr.isel(z=3)), affine(lr.isel(z=[3])), rtol=0, atol=1e-9)


def test_affine_of_one_slice_of_a_renamed_axis_counts_its_scalar_coord() -> None:
    lr = scan((5, 6, 7))
    part = lr.rename(z="slice").isel(slice=3)
    np.testing.assert_allclose(affine(part), affine(lr.isel(z=[3])), rtol=0, atol=1e-9)


def test_affine_follows_a_flipped_axis() -> None:
    lr = scan((5, 6, 7))
    flipped = lr.isel(z=slice(None, None, -1))
    np.testing.assert_allclose(affine(flipped) @ [0, 1, 2, 1], affine(lr) @ [4, 1, 2, 1], rtol=0, atol=1e-9)


def test_refined_volume_reference_states_the_fine_spacing() -> None:
    hr = fine_like(scan((3, 4, 5)), {"z": 5, "x": 2})
    attrs = hr.volume_ref.attrs
    assert attrs["spacing"] == pytest.approx((1.0, 0.8, 0.35))
    assert attrs["slice_thickness"] == pytest.approx(1.0)
    old = scan((3, 4, 5)).volume_ref.attrs
    assert attrs["origin"] == old["origin"]
    assert attrs["direction"] == old["direction"]


def test_refine_leaves_its_input_alone() -> None:
    lr = raster((2, 4, 5))
    lr.encoding = {"chunks": (1, 2, 2), "dtype": "float32"}
    before, encoding = lr.copy(deep=True), copy.deepcopy(lr.encoding)
    hr = fine_like(lr, {"y": 2, "x": 2})
    hr.attrs["new"] = 1
    hr.spatial_ref.attrs["new"] = 1
    hr.band.attrs["new"] = 1
    hr.encoding["new"] = 1
    xr.testing.assert_identical(lr, before)
    assert lr.encoding == encoding


def test_refine_interpolates_float_coords_and_repeats_others() -> None:
    lr = xr.DataArray(
        np.zeros((2, 3)),
        dims=("y", "x"),
        coords={
            "y": [1.0, 2.0],
            "x": [10.0, 20.0, 30.0],
            "lat": (("y", "x"), np.add.outer([0.0, 4.0], [0.0, 1.0, 2.0])),
            "row": ("y", ["a", "b"]),
        },
    )
    hr = fine_like(lr, {"y": 2, "x": 2})
    np.testing.assert_allclose(hr.lat[:, 0], np.array([-1.0, 1.0, 3.0, 5.0]) - 0.25)
    assert hr.row.values.tolist() == ["a", "a", "b", "b"]


def test_refine_drops_chunk_encoding_only() -> None:
    lr = raster((4, 5))
    stale = {"chunks": (2, 2), "preferred_chunks": {"y": 2}, "chunksizes": (2, 2), "shards": (4, 4)}
    lr.encoding = {**stale, "original_shape": (4, 5), "source": "a.tif", "_FillValue": -1.0, "zlib": True}
    assert fine_like(lr, {"y": 2}).encoding == {"_FillValue": -1.0, "zlib": True}


def test_refined_coord_does_not_keep_a_storage_type_that_would_round_it() -> None:
    lr = raster((4, 5))
    lr.y.encoding.update(dtype=np.dtype("int32"), scale_factor=10.0, zlib=True)
    lr["y"] = lr.y
    hr = fine_like(lr, {"y": 2})
    assert not {"dtype", "scale_factor"} & set(hr.y.encoding)


def test_refine_rejects_data_of_another_shape() -> None:
    with pytest.raises(GridError, match=re.escape("data of shape (4, 5) is not the refined shape (8, 10)")):
        refine(raster((4, 5)), np.zeros((4, 5)), {"y": 2, "x": 2})


@quick
@given(st.integers(3, 30), st.data())
def test_uneven_coord_is_refused_with_its_largest_deviation(n: int, data: Any) -> None:
    place = data.draw(st.integers(1, n - 2))
    x = 5.0 * np.arange(n)
    x[place] += 0.01
    da = xr.DataArray(np.zeros((2, n)), dims=("y", "x"), coords={"x": x})
    text = f"coord 'x' is uneven: pixel {place} is 0.002 steps of 5 off the even grid (tolerance 0.001)"
    with pytest.raises(GridError, match=re.escape(text)):
        check_grid(da)


@quick
@given(firsts, steps, sizes, st.integers(0, 99))
def test_coord_within_tolerance_is_even(first: float, step: float, n: int, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-4e-4, 4e-4, n)  # both ends move too: half of 1e-3
    rounding = np.spacing(abs(first) + n * abs(step)) / abs(step)
    if rounding > 1e-4:
        return
    x = first + step * (np.arange(n) + noise)
    check_grid(xr.DataArray(np.zeros((2, n)), dims=("y", "x"), coords={"x": x}))


@quick
@given(st.floats(-180, 180), st.sampled_from([0.25, 0.025, 0.1 / 3, 1 / 1200, -0.05]), st.integers(2, 400))
def test_even_coord_that_float32_rounded_is_even(first: float, step: float, n: int) -> None:
    x = (first + step * np.arange(n)).astype(np.float32)
    da = xr.DataArray(np.zeros((2, n)), dims=("lat", "lon"), coords={"lon": x})
    check_grid(da)
    assert spacing(da)["lon"] == pytest.approx(abs(step), abs=7e-5 / (n - 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coord_that_is_uneven_beyond_its_rounding_is_refused(dtype: Any) -> None:
    x = 100 + np.arange(9) / 64  # exact in float32, which has steps of 7.6e-6 here
    x[4] += 1 / 512  # an eighth of a step
    da = xr.DataArray(np.zeros((2, 9)), dims=("y", "x"), coords={"x": x.astype(dtype)})
    with pytest.raises(GridError, match=r"coord 'x' is uneven: pixel 4 is 0.125 steps of 0.015625 off"):
        check_grid(da)


def test_coord_finer_than_its_float_type_is_refused() -> None:
    x = (500_000 + 0.05 * np.arange(40)).astype(np.float32)  # float32 has steps of 1/32 here
    da = xr.DataArray(np.zeros((2, 40)), dims=("y", "x"), coords={"x": x})
    with pytest.raises(GridError, match=r"coord 'x' is uneven: .* \(tolerance 0.251\); resample onto"):
        check_grid(da)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, np.nan, 3.0], "non-finite"),
        ([1.0, np.inf, 3.0], "non-finite"),
        ([2.0, 2.0, 2.0], "zero spacing"),
        ([1.0, 2.0, 1.0], "zero spacing"),
    ],
)
def test_impossible_coord_is_refused(values: list[float], text: str) -> None:
    da = xr.DataArray(np.zeros((3, 2)), dims=("lat", "lon"), coords={"lat": values})
    with pytest.raises(GridError, match=f"coord 'lat' has {text}.*; assign"):
        check_grid(da)


@pytest.mark.parametrize(
    "values",
    [
        np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]"),
        np.array(["a", "b"]),
        np.array([1, "b"], object),
        np.array([1j, 2j]),
        np.array([True, False]),
    ],
)
def test_coord_that_is_no_number_is_refused(values: np.ndarray) -> None:
    da = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), coords={"y": values})
    with pytest.raises(InputTypeError, match=r"spatial coord 'y' has dtype .*, not numbers; assign"):
        check_grid(da)


def test_integer_coords_refine_to_floats() -> None:
    lr = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), coords={"y": [10, 0], "x": [0, 1]})
    np.testing.assert_array_equal(fine_like(lr, {"y": 2}).y, [12.5, 7.5, 2.5, -2.5])


def test_spatial_dims_come_in_the_order_z_y_x() -> None:
    da = xr.DataArray(np.zeros((1, 2, 3, 4)), dims=("lon", "time", "depth", "lat"))
    assert list(spatial_dims(da).items()) == [("z", "depth"), ("y", "lat"), ("x", "lon")]


def test_two_dims_of_one_axis_are_refused() -> None:
    with pytest.raises(GridError, match="'y' and 'lat' are both the y axis; rename"):
        spatial_dims(xr.DataArray(np.zeros((1, 2, 3)), dims=("y", "lat", "x")))


def test_volume_of_a_singular_affine_is_refused() -> None:
    with pytest.raises(GridError, match="singular or not finite"):
        volume(np.zeros((2, 3, 4)), np.diag([1.0, 0.0, 2.0, 1.0]))


def test_volume_whose_spacing_is_not_that_of_its_affine_is_refused() -> None:
    with pytest.raises(GridError, match="is not that of the affine"):
        volume(np.zeros((2, 3, 4)), np.diag([1.0, 3.0, 2.0, 1.0]), spacing=(1, 3, 2.1))


def test_affine_without_reference_is_refused() -> None:
    with pytest.raises(GridError, match="no volume_ref coord; read it"):
        affine(xr.DataArray(np.zeros((2, 3, 4)), dims=("z", "y", "x")))


def test_geo_transform_of_the_wrong_length_is_refused() -> None:
    lr = raster((6, 8)).isel(y=[2])
    lr.spatial_ref.attrs["GeoTransform"] = "1 2 3"
    with pytest.raises(GridError, match="'1 2 3' has 3 numbers, not 6; write it anew"):
        spacing(lr)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "int64", "float32"])
def test_numbers_beside_a_refined_axis_are_linear_whatever_their_type(dtype: str, lazy: bool) -> None:
    rows = (100 + 10 * np.arange(6)).astype(dtype)
    da = xr.DataArray(np.zeros((6, 7)), dims=("y", "x"), coords={"row": ("y", rows)})
    fine = fine_like(da.chunk(y=3) if lazy else da, {"y": 2})
    assert fine.row.dtype == (np.float64 if dtype == "float32" else dtype)
    exact = 100 + 10 * ((np.arange(12) + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(fine.row, exact, rtol=0, atol=0 if dtype == "float32" else 0.5)


@pytest.mark.parametrize("attrs", [{"flag_values": (3, 7)}, {"_FillValue": 7}])
def test_classes_and_nodata_beside_a_refined_axis_are_repeated(attrs: dict[str, object]) -> None:
    coords = {"kind": ("y", np.array([3, 7, 3], np.int16), attrs)}
    fine = fine_like(xr.DataArray(np.zeros((3, 7)), dims=("y", "x"), coords=coords), {"y": 2})
    np.testing.assert_array_equal(fine.kind, [3, 3, 7, 7, 3, 3])
