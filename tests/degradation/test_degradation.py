"""Degradation: grid, ramp, nodata, types, chunks, noise."""

import dask.array
import numpy as np
import pytest
import scipy.ndimage
import xarray as xr

from sr_imaging import ConfigError, GridError, InputTypeError, degrade
from sr_imaging.degradation.noise import Noise
from sr_imaging.degradation.psf import BOX, GAUSSIAN, Psf, margin, psf_kernel


def raster(values: np.ndarray, **attrs: object) -> xr.DataArray:
    """Band, y, x with spacings 10 down and 5 across."""
    lead = [f"d{k}" for k in range(values.ndim - 2)]
    y = 1000.0 - 10 * np.arange(values.shape[-2])
    x = 200.0 + 5 * np.arange(values.shape[-1])
    return xr.DataArray(values, dims=[*lead, "y", "x"], coords={"y": y, "x": x}, attrs=attrs)


def volume(values: np.ndarray) -> xr.DataArray:
    coords = {axis: np.arange(n) * d for axis, n, d in zip("zyx", values.shape, (1.5, 0.8, 0.6), strict=True)}
    return xr.DataArray(values, dims=("z", "y", "x"), coords=coords)


PROFILES = [
    BOX,
    GAUSSIAN,
    Psf.from_fwhm(1.6),
    Psf.from_mtf(0.2),
    Psf("box", thickness=0.6),
    Psf("box", thickness=1.3),
    Psf("slice-gaussian", thickness=0.9),
    Psf("slr"),
    Psf("slr", thickness=0.7),
]


@pytest.mark.parametrize("psf", PROFILES, ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4, 1.7, 2.5, 3.3])
def test_ramp_stays_the_ramp_of_its_coordinates(psf: Psf, scale: float) -> None:
    fine = raster(np.zeros((60, 72)))
    fine = fine.copy(data=(0.3 * fine.y / 10 + 0.7 * fine.x / 5).values)
    coarse = degrade(fine, scale, psf=psf)
    inner = coarse.isel(y=slice(5, -5), x=slice(5, -5))
    wanted = 0.3 * inner.y / 10 + 0.7 * inner.x / 5  # one unit a pixel: 1e-6 of a pixel
    np.testing.assert_allclose(inner.values, wanted.values, atol=1e-6)


@pytest.mark.parametrize("psf", PROFILES, ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4, 1.7, 2.5, 3.3])
def test_smooth_phantom_keeps_its_centroid(psf: Psf, scale: float) -> None:
    fine = raster(np.zeros((400, 420)))
    shape = ((fine.y - 1000 + 1953.7) / 100) ** 2 + ((fine.x - 200 - 1061.3) / 55) ** 2
    fine = fine.copy(data=np.exp(-0.5 * shape).transpose("y", "x").values)
    coarse = degrade(fine, scale, psf=psf)
    for axis, centre, step in (("y", 1000 - 1953.7, 10), ("x", 200 + 1061.3, 5)):
        found = float((coarse * coarse[axis]).sum() / coarse.sum())
        assert abs(found - centre) < 1e-6 * step  # 1e-6 of an HR pixel


def transfer(kernel: np.ndarray, frequency: float) -> float:
    """Modulation transfer at a frequency in cycles per HR pixel, the HR pixel's own area mean included."""
    place = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    return float(kernel @ np.cos(2 * np.pi * frequency * place)) * float(np.sinc(frequency))


@pytest.mark.parametrize("mtf", [0.1, 0.289, 0.5])
def test_psf_by_mtf_transfers_it_at_the_nyquist_frequency(mtf: float) -> None:
    assert transfer(psf_kernel(Psf.from_mtf(mtf), 8), 0.5 / 8) == pytest.approx(mtf, rel=0.01)


@pytest.mark.parametrize("mtf", [0.0, 0.64, 1.0])
def test_impossible_mtf_is_refused(mtf: float) -> None:
    with pytest.raises(ConfigError, match="that of the area mean alone"):
        Psf.from_mtf(mtf)


@pytest.mark.parametrize("kind", ["box", "slice-gaussian", "slr"])
@pytest.mark.parametrize("thickness", [0.5, 1.0, 1.5])
def test_slice_is_as_thick_as_it_says_at_half_height(kind: str, thickness: float) -> None:
    scale = 64
    kernel = psf_kernel(Psf(kind, thickness=thickness), scale)
    wide = np.flatnonzero(kernel > kernel.max() / 2)
    assert (wide[-1] - wide[0] + 1) / scale == pytest.approx(thickness, abs=2 / scale)


def test_slr_profile_has_a_flat_top_and_small_lobes() -> None:
    kernel = psf_kernel(Psf("slr"), 64)
    place = (np.arange(len(kernel)) - (len(kernel) - 1) / 2) / 64
    top = kernel[np.abs(place) < 0.25] / kernel.max()
    assert top.min() > 0.97
    assert np.abs(kernel[np.abs(place) > 0.8]).max() < 0.01 * kernel.max()


def test_gap_leaves_out_what_lies_in_it() -> None:
    values = np.ones((8, 6, 5))
    values[[0, 3, 4, 7]] = 100.0  # outside the middle half of slices of 4
    coarse = degrade(volume(values), {"z": 4}, psf=Psf("box", thickness=0.5))
    np.testing.assert_allclose(coarse.values, 1.0, atol=1e-12)


def test_real_factor_coarsens_the_grid_from_its_first_edge() -> None:
    coarse = degrade(raster(np.ones((61, 73))), {"y": 2.5, "x": 1.7})
    assert coarse.shape == (24, 42)
    np.testing.assert_allclose(coarse.y.values[[0, -1]], [1005 - 12.5, 1005 - 25 * 23.5], rtol=1e-12)
    np.testing.assert_allclose(coarse.x.values[:2], [197.5 + 4.25, 197.5 + 12.75], rtol=1e-12)


def test_psf_can_differ_by_axis() -> None:
    values = np.random.default_rng(1).normal(size=(6, 8, 10))
    slr = Psf("slr", thickness=0.8)
    wanted = degrade(degrade(volume(values), {"z": 3}, psf=slr), {"y": 2, "x": 2}, psf=GAUSSIAN)
    found = degrade(volume(values), (3, 2, 2), psf={"z": slr})
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-12)


def test_psf_of_an_unknown_axis_is_refused() -> None:
    with pytest.raises(GridError, match="psf names 'z'"):
        degrade(raster(np.ones((20, 24))), 2, psf={"z": BOX})


def test_degraded_edges_are_those_of_the_whole_blocks() -> None:
    coarse = degrade(raster(np.ones((61, 73))), {"y": 3, "x": 4})
    assert coarse.shape == (20, 18)
    np.testing.assert_allclose(coarse.y.values[[0, -1]], [1000 - 10, 1000 - 10 * 58], rtol=1e-12)
    np.testing.assert_allclose(coarse.x.values[[0, -1]], [207.5, 200 + 5 * 69.5], rtol=1e-12)


def test_gaussian_equals_scipy_then_area_mean() -> None:
    values = np.random.default_rng(0).normal(size=(24, 30))
    blurred = scipy.ndimage.gaussian_filter(values, 0.4 * 2, truncate=4.0, mode="nearest")
    wanted = blurred.reshape(12, 2, 15, 2).mean((1, 3))
    np.testing.assert_allclose(degrade(raster(values), 2, psf=GAUSSIAN).values, wanted, atol=1e-12)


def test_box_is_the_area_mean() -> None:
    values = np.random.default_rng(0).normal(size=(8, 10, 12))
    coarse = degrade(volume(values), {"z": 4})
    np.testing.assert_allclose(coarse.values, values.reshape(2, 4, 10, 12).mean(1), atol=1e-12)
    np.testing.assert_allclose(coarse.z.values, [2.25, 8.25])


def test_usual_psf_is_a_slice_profile_along_z_and_optics_in_plane() -> None:
    values = np.random.default_rng(1).normal(size=(6, 8, 10))
    wanted = degrade(degrade(volume(values), {"z": 3}, psf=BOX), {"y": 2, "x": 2}, psf=GAUSSIAN)
    np.testing.assert_allclose(degrade(volume(values), (3, 2, 2)).values, wanted.values, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_kernel_sums_to_one_and_spans_block_and_margin(scale: int) -> None:
    for psf in (BOX, GAUSSIAN, Psf(sigma=0.9)):
        kernel = psf_kernel(psf, scale)
        assert kernel.sum() == pytest.approx(1, abs=1e-14)
        assert len(kernel) == scale + 2 * margin(psf, scale)
        np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-17)


@pytest.mark.parametrize("chunks", [(7, 5), (16, 64), (1, 3), (40, 54)])
@pytest.mark.parametrize("noise", [Noise(), Noise("gaussian", 2.0), Noise("rician", 0.5)])
def test_dask_equals_numpy_whatever_the_chunks(chunks: tuple[int, int], noise: Noise) -> None:
    values = np.random.default_rng(2).normal(size=(2, 40, 54)).astype(np.float32)
    values[0, 11, 13] = np.nan
    whole = degrade(raster(values), {"y": 2, "x": 3}, noise=noise, seed=4)
    lazy = degrade(
        raster(dask.array.from_array(values, chunks=(1, *chunks))), {"y": 2, "x": 3}, noise=noise, seed=4
    )
    assert isinstance(lazy.data, dask.array.Array)
    assert lazy.dtype == np.float32
    np.testing.assert_array_equal(lazy.values, whole.values)


def test_dask_equals_numpy_for_real_factors() -> None:
    values = np.random.default_rng(2).normal(size=(40, 54)).astype(np.float32)
    values[11, 13] = np.nan
    whole = degrade(raster(values), {"y": 2, "x": 2.3}, noise=Noise("gaussian", 1.0), seed=4)
    lazy = degrade(
        raster(dask.array.from_array(values, chunks=(7, 5))),
        {"y": 2, "x": 2.3},
        noise=Noise("gaussian", 1.0),
        seed=4,
    )
    np.testing.assert_array_equal(lazy.values, whole.values)
    assert 0 < np.isnan(whole.values).sum() < 100


def test_dask_is_not_computed_by_degrading() -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    lazy = dask.array.zeros((40, 40), chunks=20).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
    assert degrade(raster(lazy), 2).shape == (20, 20)


def test_lr_pixel_is_invalid_where_its_psf_sees_an_invalid_pixel() -> None:
    values = np.ones((20, 24), np.float32)
    values[9, 10] = np.nan
    box = np.isnan(degrade(raster(values), 2, psf=BOX).values)
    assert box.sum() == 1
    assert box[4, 5]
    wide = np.isnan(degrade(raster(values), 2, psf=GAUSSIAN).values)
    rows, cols = np.nonzero(wide)  # a margin of 3 HR pixels
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (3, 6, 3, 6)


def test_integer_nodata_stays_exact_and_never_arises() -> None:
    values = np.full((8, 10), 7, np.int16)
    values[:, 5:] = -1  # mean of 7 and -1 would be 3
    values[0, 0] = 3
    coarse = degrade(raster(values, _FillValue=3), 2, psf=BOX)
    assert coarse.dtype == np.int16
    assert coarse.values[0, 0] == 3
    assert (coarse.values[1:, 2] == 4).all()
    assert coarse.attrs["_FillValue"] == 3


def test_integers_turned_float_mark_nodata_by_nan() -> None:
    values = np.full((8, 10), 7, np.uint16)
    values[0, 0] = 9
    coarse = degrade(raster(values, _FillValue=9, units="DN"), 2, psf=BOX, dtype="float32")
    assert np.isnan(coarse.values[0, 0])
    assert coarse.attrs == {"units": "DN"}


def test_integers_are_rounded_and_clipped() -> None:
    values = np.array([[0, 255], [255, 255]], np.uint8)
    assert degrade(raster(values), 2, psf=BOX).values == 191
    noisy = degrade(raster(np.full((40, 44), 254, np.uint8)), 2, noise=Noise("gaussian", 9.0), seed=1)
    assert noisy.values.max() == 255


def test_gaussian_noise_has_its_sigma_and_seed() -> None:
    flat = raster(np.zeros((200, 240)))
    first, again, other = (degrade(flat, 2, noise=Noise("gaussian", 3.0), seed=s).values for s in (1, 1, 2))
    assert first.std() == pytest.approx(3.0, rel=0.02)
    assert abs(first.mean()) < 0.1
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.03


def test_rician_noise_of_air_has_the_rayleigh_mean() -> None:
    flat = raster(np.zeros((200, 240)))
    mean = degrade(flat, 2, noise=Noise("rician", 2.0)).values.mean()
    assert mean == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.02)


def test_poisson_gaussian_noise_has_its_variance_at_every_value() -> None:
    noise = Noise("poisson-gaussian", sigma=3.0, gain=0.5, zero=-100.0)
    for value in (-150.0, -100.0, 0.0, 300.0):
        noisy = degrade(raster(np.full((200, 240), value)), 2, noise=noise).values
        assert noisy.var() == pytest.approx(0.5 * max(value + 100, 0) + 9.0, rel=0.05)
        assert noisy.mean() == pytest.approx(value, abs=1.0)


def test_input_is_not_changed() -> None:
    fine = raster(np.random.default_rng(0).normal(size=(2, 9, 11)), _FillValue=-1.0)
    copy = fine.copy(deep=True)
    degrade(fine, 2)
    xr.testing.assert_identical(fine, copy)


@pytest.mark.parametrize(
    ("scale", "match"),
    [
        (float("nan"), "not a number >= 1"),
        (0.5, "not a number >= 1"),
        ((2, 2, 2), "give one number for each"),
        ({"z": 2}, "not a spatial dim"),
        (100, "fewer than the scale"),
    ],
)
def test_impossible_scale_is_refused(scale: object, match: str) -> None:
    with pytest.raises(GridError, match=match):
        degrade(raster(np.ones((20, 24))), scale)  # type: ignore[arg-type]


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputTypeError, match="dtype bool"):
        degrade(raster(np.ones((20, 24), bool)), 2)


def test_array_without_spatial_dims_is_refused() -> None:
    with pytest.raises(GridError, match="no spatial axis"):
        degrade(xr.DataArray(np.ones((4, 4)), dims=("a", "b")), 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Psf("disc"),
        lambda: Psf(sigma=0),
        lambda: Psf("slr", thickness=0),
        lambda: Noise("pink"),
        lambda: Noise("gaussian", -1),
        lambda: Noise("poisson-gaussian", gain=-1),
    ],
)
def test_impossible_psf_or_noise_is_refused(make: object) -> None:
    with pytest.raises(ConfigError, match=r"use|is not"):
        make()  # type: ignore[operator]
