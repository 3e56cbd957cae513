"""Models for every real factor in a range: exact grids, tiles and chunks, and what they refuse."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from helpers.builders import generator, holes, raster, run_padded, scan, seam

from sr_imaging import ModelError, degrade, load_model, read, save_model, upscale
from sr_imaging.evaluation.metrics.pixels import psnr
from sr_imaging.image.grid.axes import fine_centres, fine_size
from sr_imaging.image.pixels.resampling import resample
from sr_imaging.inference.model_choice import choose
from sr_imaging.models.card import ModelCard
from sr_imaging.networks import GeneratorModule, build_generator, check_generator

RANGE = ((1.5, 4.0), (1.5, 4.0))
FLAT = generator("vdsr", scale_range=RANGE, channels=4)
SOLID = generator("vdsr", scale_range=((2.0, 6.0), (1.0, 1.0), (1.0, 3.0)), channels=4, depth=3)
THROUGH = generator("vdsr", scale_range=((2.0, 6.0), (1.0, 1.0)), axes=("z", "plane"), channels=4, depth=3)
FACTORS = [1.5, 2.0, 2.5, 3.3, 4.0]


@pytest.mark.parametrize("factor", FACTORS)
def test_any_factor_keeps_first_edge_and_exact_spacing(factor: float) -> None:
    lr = raster((2, 11, 14))
    sr = upscale(lr, FLAT, scale=factor)
    assert sr.shape == (2, fine_size(11, factor), fine_size(14, factor))
    for dim, step in (("y", -10.0), ("x", 20.0)):
        np.testing.assert_allclose(np.diff(sr[dim].values), step / factor, rtol=1e-9)
        edge = lr[dim].values[0] - step / 2
        np.testing.assert_allclose(sr[dim].values[0] - step / factor / 2, edge, rtol=0, atol=1e-5)
    assert sr.rio.transform() == sr.rio.transform(recalc=True)
    assert sr.rio.crs == lr.rio.crs


@pytest.mark.parametrize("factor", FACTORS)
def test_any_factor_by_spacing_equals_that_by_scale(factor: float) -> None:
    lr = raster((9, 12), step=(-10.0, 10.0))
    by_spacing = upscale(lr, FLAT, spacing=10.0 / factor)
    np.testing.assert_array_equal(by_spacing.values, upscale(lr, FLAT, scale=factor).values)


@pytest.mark.parametrize("factor", FACTORS)
def test_any_factor_is_the_network_on_the_cubic_image(factor: float) -> None:
    lr = raster((13, 11)).astype(np.float64)
    cubic = resample(lr.values, {0: (1, factor), 1: (1, factor)}, "cubic")
    mean, unit = cubic.mean(), cubic.std()
    x = torch.tensor((cubic - mean) / unit, dtype=torch.float32)[None, None]
    expected = run_padded(FLAT, x)[0, 0].numpy() * unit + mean
    made = upscale(lr, FLAT, scale=factor)
    np.testing.assert_allclose(made.values, expected, atol=2e-4)  # float32 of values up to 200
    assert np.abs(made.values - cubic).max() > 0.01  # the network does add something


@pytest.mark.parametrize("factor", [1.5, 2.5, 3.3])
@pytest.mark.parametrize("tile", [5, 16])
def test_any_factor_result_does_not_depend_on_tiles(factor: float, tile: int) -> None:
    lr = raster((17, 14))
    assert seam(upscale(lr, FLAT, scale=factor), upscale(lr, FLAT, scale=factor, tile=tile)) < 2e-6


@pytest.mark.parametrize("factor", [1.5, 2.5, 3.3])
@pytest.mark.parametrize("chunks", [{"y": 4, "x": 5}, {"y": (1, 9, 7), "x": -1}])
def test_any_factor_of_chunks_equals_the_whole(factor: float, chunks: Any) -> None:
    lr = raster((2, 17, 14))
    lazy = upscale(lr.chunk(chunks), FLAT, scale=factor)
    assert isinstance(lazy.data, dask.array.Array)
    whole = upscale(lr, FLAT, scale=factor)
    assert seam(whole, lazy.compute(scheduler="sync")) < 2e-6
    xr.testing.assert_equal(whole.coords.to_dataset(), lazy.coords.to_dataset())


def test_any_factor_computes_nothing_of_a_lazy_array() -> None:
    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    lazy: Any = dask.array.zeros((30, 40), chunks=10).map_blocks(refuse, meta=np.empty((0, 0)))
    made = upscale(xr.DataArray(lazy, dims=("y", "x")), FLAT, scale=2.5)
    assert made.shape == (75, 100)


@pytest.mark.parametrize("lazily", [False, True])
def test_any_factor_gives_invalid_pixels_back_and_hides_them(lazily: bool) -> None:
    lr = raster((16, 18))
    lr.values[:] = holes(lr.values)
    spoiled = lr.fillna(-9999.0).assign_attrs(_FillValue=-9999.0)
    first, second = ((da.chunk(7) if lazily else da) for da in (lr, spoiled))
    sr, other = upscale(first, FLAT, scale=2.0), upscale(second, FLAT, scale=2.0)
    np.testing.assert_array_equal(np.isnan(sr.values), np.isnan(lr.values).repeat(2, 0).repeat(2, 1))
    np.testing.assert_allclose(other.values, sr.fillna(-9999.0).values, rtol=0, atol=1e-3)


@pytest.mark.parametrize("factor", [2.0, 2.5])
def test_any_factor_keeps_integers_and_their_nodata(factor: float) -> None:
    lr = raster((12, 15), dtype=np.uint8, high=250)
    lr.values[3:6, 4:9] = 255
    lr.attrs["_FillValue"] = 255
    sr = upscale(lr, FLAT, scale=factor)
    assert sr.dtype == np.uint8
    floats = upscale(lr.where(lr != 255).drop_attrs(), FLAT, scale=factor)
    np.testing.assert_array_equal(sr.values == 255, np.isnan(floats.values))
    assert (
        np.abs(sr.values.astype(float) - floats.values)[np.isfinite(floats.values)] <= 0.501
    ).mean() > 0.99


def test_any_factor_hides_what_a_mask_rules_out() -> None:
    lr = raster((12, 15))
    mask = np.ones((12, 15), bool)
    mask[2:5, 3:9] = False
    lr = lr.assign_coords(mask=(("y", "x"), mask))
    spoiled = lr.copy(data=np.where(mask, lr.values, 1e6).astype(np.float32))
    sr, other = upscale(lr, FLAT, scale=2.0), upscale(spoiled, FLAT, scale=2.0)
    keep = mask.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(sr.values[keep], other.values[keep])
    assert (other.values[~keep] == 1e6).all()


def test_any_factor_refines_each_axis_of_a_volume_by_its_own() -> None:
    lr = scan((5, 6, 7), dtype=np.float32)
    sr = upscale(lr, SOLID, scale={"z": 2.5, "x": 1.5})
    assert sr.shape == (12, 6, 10)
    assert sr.coords["volume_ref"].attrs["spacing"] == pytest.approx((2.0, 0.8, 0.7 / 1.5))
    np.testing.assert_allclose(sr.z.values, fine_centres(lr.z.values, 2.5))


def test_any_factor_through_plane_model_refines_z_alone() -> None:
    lr = scan((5, 9, 8), dtype=np.float32)
    sr = upscale(lr, THROUGH, scale=3.3)
    assert sr.shape == (16, 9, 8)
    assert seam(sr, upscale(lr.chunk(4), THROUGH, scale={"z": 3.3}, tile=8)) < 2e-6


def test_any_factor_commutes_with_a_change_of_unit() -> None:
    lr = raster((10, 12)).astype(np.float64)
    left = upscale(0.01 * lr + 1000, FLAT, scale=2.5)
    right = 0.01 * upscale(lr, FLAT, scale=2.5) + 1000
    np.testing.assert_allclose(left.values, right.values, rtol=0, atol=1e-5)


def test_any_factor_says_what_it_saw() -> None:
    sr = upscale(raster((10, 12)), FLAT, scale=2.5)
    assert sr.attrs["sr_scale"] == "2.5 2.5"
    assert sr.attrs["sr_halo"] == "4 4"  # 4 HR pixels are 2 LR ones, and two more for cubic


@pytest.mark.parametrize(
    ("model", "da", "ask", "text"),
    [
        (FLAT, raster(), {}, "VDSR refines y by 1.5 to 4, x by 1.5 to 4; give a scale in that range or"),
        (FLAT, raster(), {"scale": 1.2}, "VDSR refines y by 1.5 to 4, x by 1.5 to 4, not 1.2; ask for"),
        (FLAT, raster(), {"scale": 4.2}, "not 4.2; ask for factors in that range"),
        (FLAT, raster(), {"scale": {"y": 2}}, "not y by 2; ask for factors in that range"),
        (FLAT, raster(), {"spacing": 1.0}, "not y by 10, x by 20; ask for factors in that range"),
        (FLAT, scan(), {"scale": (2, 2, 2)}, "not z by 2, y by 2, x by 2; ask"),
        (SOLID, scan(), {"scale": {"y": 1.5, "z": 2}}, "VDSR refines z by 2 to 6, x by 1 to 3, not y by 1.5"),
        (THROUGH, scan(), {"scale": 7}, "VDSR refines z by 2 to 6, not 7"),
        (THROUGH, scan(), {"scale": (2, 2, 1)}, "not z by 2, y by 2, x by 1"),
    ],
)
def test_factor_out_of_range_is_refused_with_the_range(model: Any, da: Any, ask: Any, text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        choose(da, model, ask.get("scale"), ask.get("spacing"))


def test_flat_any_factor_model_takes_a_volume_slice_by_slice() -> None:
    lr = scan((3, 8, 9), dtype=np.float32)
    sr = upscale(lr, FLAT, scale=1.5)
    assert sr.shape == (3, 12, 14)
    np.testing.assert_allclose(sr[1].values, upscale(lr[1].copy(), FLAT, scale=1.5).values, atol=1e-3)


def test_any_factor_model_is_saved_with_its_range(tmp_path: Path) -> None:
    arguments = {"scale_range": RANGE, "channels": 4, "depth": 4}
    card = ModelCard.of(FLAT, name="any", architecture="vdsr", arguments=arguments)
    assert card.scale_range == RANGE
    path = save_model(FLAT, tmp_path / "any.safetensors", card)
    loaded: Any = load_model(path)
    assert loaded.card.scale_range == loaded.scale_range == RANGE
    lr = raster((8, 9))
    np.testing.assert_array_equal(upscale(lr, path, scale=2.5).values, upscale(lr, FLAT, scale=2.5).values)


def test_card_whose_range_is_not_the_networks_is_refused(tmp_path: Path) -> None:
    arguments = {"scale_range": RANGE, "channels": 4, "depth": 4}
    card = ModelCard.of(FLAT, name="any", architecture="vdsr", arguments=arguments)
    wrong = replace(card, scale_range=((1.0, 9.0), (1.0, 9.0)))
    with pytest.raises(ModelError, match="states scale_range"):
        save_model(FLAT, tmp_path / "any.safetensors", wrong)


@pytest.mark.parametrize(
    ("scale_range", "text"),
    [
        (((1.5, 4), (4, 1.5)), "is not a range; give (lowest, highest)"),
        (((0.5, 4), (1, 4)), "is not a range"),
        (((1, float("nan")), (1, 4)), "is not a range"),
        (((1, 4000), (1, 4)), "is not a range; give (lowest, highest) factors, 1 to 1000"),
        (((1, 1), (1, 1)), "refines nothing; give one axis a factor above 1"),
        ((2, 2), "vdsr cannot be built"),
        (((1, 4),), "a scale of 1 numbers has no network"),
    ],
)
def test_impossible_range_is_refused(scale_range: Any, text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        build_generator("vdsr", {"scale_range": scale_range})


def test_vdsr_without_range_is_refused() -> None:
    with pytest.raises(ModelError, match="vdsr needs a 'scale_range'; give lowest and highest factor"):
        build_generator("vdsr", {})


@pytest.mark.parametrize("scale_range", [((1.0, 4.0),), ((4.0, 2.0), (1.0, 2.0)), 3])
def test_module_whose_range_fits_no_axes_is_refused(scale_range: Any) -> None:
    module: Any = GeneratorModule((1, 1), halo=(0, 0))
    module.scale_range = scale_range
    with pytest.raises(ModelError, match=r"scale_range .* not lowest and highest factor per axis"):
        check_generator(module)


def test_module_with_a_range_and_a_scale_is_refused() -> None:
    module: Any = GeneratorModule((2, 1), halo=(0, 0), scale_range=((1, 4), (1, 4)))
    with pytest.raises(ModelError, match=r"scale_range and scale \(2, 1\); .* make its scale all ones"):
        check_generator(module)


def test_one_trained_model_beats_cubic_at_every_factor(shared_data: Path) -> None:
    scene = read(shared_data / "satellite/landsat8_zion_utah/landsat8_zion_b2345.tif")[3].astype(np.float32)
    near, far = scene[:84, :84].drop_vars("band"), scene[600:684, 500:584].drop_vars("band")
    torch.manual_seed(0)
    module: Any = build_generator("vdsr", {"scale_range": RANGE, "channels": 10, "depth": 6})
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    unit = float(near.std())
    pairs = []
    for factor in (1.5, 2.0, 3.0, 4.0):  # 2.5 is not among them
        seen = upscale(degrade(near, factor), "cubic", scale=factor).values / unit
        hr = near.values[: seen.shape[0], : seen.shape[1]] / unit
        pairs.append([torch.from_numpy(x)[None, None] for x in (seen, hr)])
    for step in range(60):
        seen, hr = pairs[step % len(pairs)]
        optimiser.zero_grad()
        (module(seen) - hr[..., 6:-6, 6:-6]).square().mean().backward()
        optimiser.step()
    module.eval()
    for factor in (1.5, 2.0, 2.5, 4.0):
        lr = degrade(far, factor)
        truth = far.values[: round(lr.shape[0] * factor), : round(lr.shape[1] * factor)]
        span = float(np.ptp(truth))
        own, cubic = (
            psnr(upscale(lr, m, scale=factor).values, truth, data_range=span) for m in (module, "cubic")
        )
        assert own > cubic + 0.1, factor
