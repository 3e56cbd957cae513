"""Pairs of scans: laid over each other by coordinates, checked by contents."""

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from helpers.builders import raster, scan

from sr_imaging import GridError, degrade, read
from sr_imaging.degradation.content_shift import content_shift
from sr_imaging.degradation.real_pairs import aligned_pair
from sr_imaging.image.grid.frames import mean_on_grid
from sr_imaging.image.grid.volumes import affine, volume


def texture(*shape: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return scipy.ndimage.gaussian_filter(noise, 1.5)


def image(rows: int, cols: int, *, seed: int = 0) -> xr.DataArray:
    """A raster of 10 down and 20 across with content at every scale."""
    da = raster((1, rows, cols), step=(-10.0, 20.0))
    return da.copy(data=texture(1, rows, cols, seed=seed).astype(np.float32))


def test_pair_is_cropped_to_whole_blocks_that_both_have() -> None:
    fine = image(61, 80)
    coarse = degrade(fine, {"y": 3, "x": 2}).isel(y=slice(4, None), x=slice(0, 30))
    pair = aligned_pair(fine.isel(x=slice(3, None)), coarse)
    assert pair.scale == (3, 2)
    assert (pair.fine.sizes["y"], pair.fine.sizes["x"]) == (16 * 3, 28 * 2)
    np.testing.assert_allclose(pair.offset, 0, atol=1e-9)
    blocks = pair.fine.coarsen(y=3, x=2).mean()
    np.testing.assert_allclose(blocks.y, pair.coarse.y)
    np.testing.assert_allclose(blocks.x, pair.coarse.x)


def test_pair_made_by_degrading_has_no_shift() -> None:
    fine = image(160, 180)
    assert aligned_pair(fine, degrade(fine, 2)).shift() == (0.0, 0.0)


@pytest.mark.parametrize("shift", [(0.4, -0.3), (1.25, 2.0), (-3.0, 0.0)])
def test_shift_of_contents_is_found_in_coarse_pixels(shift: tuple[float, float]) -> None:
    fine = image(200, 240)
    moved = scipy.ndimage.shift(fine.values, (0, 3 * shift[0], 2 * shift[1]), order=3, mode="nearest")
    coarse = degrade(fine.copy(data=moved), {"y": 3, "x": 2})
    assert aligned_pair(fine, coarse).shift() == pytest.approx(shift, abs=0.05)


def test_shift_is_blind_to_gain_noise_and_invalid_pixels() -> None:
    rng = np.random.default_rng(1)
    a = texture(90, 110)
    b = 5 + 3 * scipy.ndimage.shift(a, (0.6, -1.4), order=3, mode="nearest")
    b += rng.normal(size=b.shape) * b.std() * 0.3
    b[:12, :30] = np.nan
    assert content_shift(a, b) == pytest.approx((0.6, -1.4), abs=0.1)


def test_shift_of_a_constant_image_is_zero() -> None:
    assert content_shift(np.ones((20, 30)), texture(20, 30)) == (0.0, 0.0)


def test_grids_that_lie_between_each_other_state_the_offset() -> None:
    fine = image(60, 80)
    coarse = degrade(fine, 2)
    pair = aligned_pair(fine, coarse.assign_coords(y=coarse.y - 5.0))  # half a fine pixel on, downwards
    assert pair.offset == pytest.approx((0.25, 0.0))


def test_coarse_scan_of_opposite_direction_is_turned() -> None:
    fine = image(60, 80)
    coarse = degrade(fine, 2)
    pair = aligned_pair(fine, coarse.isel(y=slice(None, None, -1)))
    np.testing.assert_array_equal(pair.coarse.values, coarse.values)
    np.testing.assert_array_equal(pair.fine.values, fine.values)


def test_images_without_place_cover_one_area() -> None:
    fine = xr.DataArray(np.zeros((3, 60, 80)), dims=("band", "y", "x"))
    pair = aligned_pair(fine, xr.DataArray(np.zeros((3, 20, 40)), dims=("band", "y", "x")))
    assert pair.scale == (3, 2)
    assert pair.fine.shape == (3, 60, 80)


def test_volumes_are_laid_over_each_other_in_the_patient() -> None:
    fine = scan((24, 18, 20), spacing=(1.0, 0.8, 0.7))
    coarse = degrade(fine, {"z": 4}).isel(z=slice(1, 5), x=slice(3, 17))
    matrix = affine(coarse)  # the crop with an origin of its own
    coarse = volume(coarse.values, matrix, reference={"frame_of_reference_uid": "1.2.3"})
    pair = aligned_pair(fine, coarse)
    assert pair.scale == (4, 1, 1)
    np.testing.assert_array_equal(pair.fine.values, fine.values[4:20, :, 3:17])
    np.testing.assert_allclose(pair.offset, 0, atol=1e-6)


def turned(da: xr.DataArray, angle: float) -> xr.DataArray:
    """The volume, its direction turned about z by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    direction = np.array(da.volume_ref.attrs["direction"]).reshape(3, 3)
    attrs = {
        **da.volume_ref.attrs,
        "direction": tuple((np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ direction).ravel()),
    }
    return da.assign_coords(volume_ref=((), 0, attrs))


def stated(da: xr.DataArray, **attrs: Any) -> xr.DataArray:
    """The volume with other attributes of its reference."""
    return da.assign_coords(volume_ref=((), 0, {**da.volume_ref.attrs, **attrs}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda da: da.rio.write_crs("EPSG:32632"), "different CRS, WGS 84 / UTM zone 33N and WGS 84 / UTM"),
        (lambda da: da.assign_coords(x=da.x + 10_000), "do not overlap along x"),
        (
            lambda da: da.assign_coords(y=10 * np.arange(30) * -1.3 + 4.1e6),
            "1.3 fine pixels of 10, not a whole",
        ),
        (lambda da: da.drop_vars(["x", "y"]), "one scan states its place"),
        (lambda da: da.isel(y=0), r"have the axes \['y', 'x'\] and \['x'\]"),
    ],
)
def test_rasters_that_do_not_fit_are_refused(change: Any, match: str) -> None:
    fine = image(60, 80)
    with pytest.raises(GridError, match=match):
        aligned_pair(fine, change(degrade(fine, 2)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda da: turned(da, 0.1), "axes of the scans are up to 5"),
        (lambda da: stated(da, frame_of_reference_uid="9.9"), "different frames of reference, 1.2.3 and 9.9"),
        (lambda da: da.drop_vars("volume_ref"), "only one of the scans has a volume_ref"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(change: Any, match: str) -> None:
    fine = scan((24, 18, 20), spacing=(1.0, 0.8, 0.7), angles=(0.0, 0.0, 0.0))
    with pytest.raises(GridError, match=match):
        aligned_pair(fine, change(degrade(fine, {"z": 4})))


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.3])
def test_guide_on_a_grid_is_a_ramp_of_its_coordinates(offset: float) -> None:
    grid = raster((2, 20, 24), step=(-30.0, 40.0))
    fine = raster(
        (1, 70, 60), step=(-10.0, 20.0), origin=(499_960.0 + 20 * offset, 4_100_020.0 - 10 * offset)
    )
    fine = fine.copy(data=(0.01 * (fine.x - 5e5) + 0.02 * (fine.y - 4.1e6)).transpose("y", "x").values[None])
    mean, kept = mean_on_grid(fine, grid)
    wanted = 0.01 * (kept.x - 5e5) + 0.02 * (kept.y - 4.1e6)
    np.testing.assert_allclose(mean[0], wanted.transpose("y", "x"), atol=2e-6)
    assert kept.sizes["y"] == 20


def test_guide_crops_the_grid_to_what_it_covers_and_keeps_invalid_pixels_invalid() -> None:
    grid = raster((20, 24), step=(-30.0, 40.0))
    fine = raster((30, 40), step=(-10.0, 20.0), dtype=np.float32).copy()
    fine[4, 7] = np.nan
    mean, kept = mean_on_grid(fine, grid)
    assert kept.shape == mean.shape == (10, 20)
    assert np.argwhere(np.isnan(mean.values)).tolist() == [[1, 3]]


def test_coarser_guide_is_refused() -> None:
    with pytest.raises(GridError, match="pixels of 30, more than 10; give a finer guide"):
        mean_on_grid(raster((20, 24), step=(-30.0, 40.0)), raster((60, 48), step=(-10.0, 20.0)))


def test_arguments_are_not_changed() -> None:
    fine, coarse = image(60, 80), degrade(image(60, 80), 2)
    copies = fine.copy(deep=True), coarse.copy(deep=True)
    aligned_pair(fine, coarse).shift()
    mean_on_grid(fine, coarse)
    xr.testing.assert_identical(fine, copies[0])
    xr.testing.assert_identical(coarse, copies[1])


def test_pan_and_ms_of_landsat_align_as_their_coordinates_say(shared_data: Any) -> None:
    folder = shared_data / "satellite/landsat8_pan_ms_gulfcoast"
    pan, ms = read(folder / "l8_B8_pan_15m.tif"), read(folder / "l8_B2345_30m.tif")
    assert aligned_pair(pan, ms).offset == pytest.approx((0.25, 0.25))  # half a pan pixel
    mean, ms = mean_on_grid(pan, ms)
    ground = {"y": slice(500, None)}  # the rest is cloud, which bands see from different angles
    for band in (0, 1, 2):
        shift = content_shift(mean.isel(ground).values[0], ms.isel(ground).values[band])
        assert shift == pytest.approx((0, 0), abs=0.05)


def test_bands_of_sentinel_2_align_to_a_hundredth_of_a_pixel(shared_data: Any) -> None:
    folder = shared_data / "satellite/sentinel2_coast_20m"
    pair = aligned_pair(read(folder / "s2_B05_06_07_8A_11_12_20m.tif"), read(folder / "s2_B01_B09_60m.tif"))
    assert (pair.scale, pair.offset) == ((3, 3), (0.0, 0.0))
    assert pair.shift() == pytest.approx((0, 0), abs=0.05)
