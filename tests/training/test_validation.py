"""Validation in training: images, nodata, figures."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from rasterio import Affine

from sr_imaging import degrade, find_scans, upscale
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.networks import build_generator
from sr_imaging.networks.whole_image import upscale_image
from sr_imaging.training.config.data import DataConfig
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.data.scan_list import TrainingScan
from sr_imaging.training.monitoring.log import RunLog
from sr_imaging.training.monitoring.validation import HeldOut, held_out_images, judge


def images(path: Path, count: int, **arguments: object) -> list[object]:
    data = DataConfig(train=("x",), patch=8, validation_images=count)
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4, **arguments})
    degradation = DegradationConfig()
    plan = PatchPlan.of(generator, data, degradation)
    return [*held_out_images([], [path], data=data, plan=plan, degradation=degradation)]


def test_fresh_network_has_the_figures_of_cubic(shared_data: Path) -> None:
    scan = shared_data / "satellite/landsat7_chiapas_8band/LE70220491999322EDC01_stack.gtif"
    found = images(scan, 3)
    assert len(found) == 3
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
    figures = judge(generator, found, torch.device("cpu"))  # type: ignore[arg-type]
    assert figures["psnr"] == pytest.approx(figures["psnr_cubic"], abs=1e-4)
    assert generator.training


def test_images_have_no_offset_and_whole_blocks(shared_data: Path) -> None:
    for image in images(shared_data / "satellite/landsat7_olinda_6band/L7_ETMs.tif", 2):
        assert image.hr.shape == (1, 256, 256)  # type: ignore[attr-defined]
        assert image.lr.shape == (1, 1, 128, 128)  # type: ignore[attr-defined]
        assert abs(image.hr.mean()) < 1e-3  # type: ignore[attr-defined]


def write_raster(path: Path, values: np.ndarray, step: float) -> Path:
    """A GeoTIFF of (bands, y, x) whose north-west corner is always the same."""
    profile = {"driver": "GTiff", "count": len(values), "dtype": "float32", "crs": "EPSG:32632"}
    place = {"height": values.shape[1], "width": values.shape[2]}
    transform = Affine(step, 0, 5e5, 0, -step, 5e6)
    with rasterio.open(path, "w", transform=transform, **profile, **place) as file:
        file.write(values.astype(np.float32))
    return path


def held_out(
    generator: object, degradation: DegradationConfig, scans: list[object], **data: object
) -> list[HeldOut]:
    settings = DataConfig(train=("x",), patch=8, **data)
    plan = PatchPlan.of(generator, settings, degradation)
    return held_out_images([], scans, data=settings, plan=plan, degradation=degradation)


def test_same_image_is_not_judged_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_raster(tmp_path / "a.tif", rng.normal(size=(3, 40, 56)), 10)
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
    assert len(held_out(generator, DegradationConfig(), [path], validation_images=16)) == 3


def test_model_of_any_factor_is_judged_on_the_interpolated_image(tmp_path: Path) -> None:
    waves = np.sin(np.arange(80) / 5) + np.cos(np.arange(60) / 4)[:, None]  # smooth: the blurs differ
    path = write_raster(tmp_path / "a.tif", waves[None], 10)
    generator = build_generator("vdsr", {"scale_range": [[1.5, 2.5]] * 2, "channels": 4, "depth": 3})
    (image,) = held_out(generator, DegradationConfig(), [path])
    assert image.lr.shape[2:] == image.hr.shape[1:] == (60, 80)
    edge = PatchPlan.of(generator, DataConfig(("x",)), DegradationConfig()).margin[0]  # where LR begins
    da = xr.DataArray(np.pad(image.hr[0], edge, mode="edge"), dims=("y", "x"))
    again = upscale(degrade(da, 2), "cubic", scale=2).values[edge:-edge, edge:-edge]
    np.testing.assert_allclose(image.lr[0, 0, 8:-8, 8:-8], again[8:-8, 8:-8], atol=5e-3)
    figures = judge(generator, [image], torch.device("cpu"))
    assert figures["psnr_cubic"] == pytest.approx(image.cubic[0])


def test_real_pair_is_judged_on_its_own_lr(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.normal(50, 9, size=(1, 12, 16)), np.ones((1, 2, 2)))
    fine = np.kron(coarse, np.ones((1, 2, 2)))
    hr, lr = (write_raster(tmp_path / n, v, s) for n, v, s in (("h.tif", fine, 5), ("l.tif", coarse, 10)))
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
    scan = TrainingScan(find_scans(hr)[0], find_scans(lr)[0])
    (image,) = held_out(generator, DegradationConfig(), [scan], lr=("l.tif",))
    np.testing.assert_allclose(image.lr[0], (coarse - fine.mean()) / fine.std(), atol=1e-5)


def test_guide_of_an_image_lies_on_its_grid_and_has_no_gain(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=(1, 40, 60)), axis=2)
    hr = write_raster(tmp_path / "h.tif", values, 10)
    guide = write_raster(tmp_path / "g.tif", 1000 + 20 * np.kron(values, np.ones((1, 2, 2))), 5)
    generator = build_generator("guided", {"scale": (2, 2), "guide_channels": 1})
    scan = TrainingScan(find_scans(hr)[0], guide=find_scans(guide)[0])
    (image,) = held_out(generator, DegradationConfig(), [scan], guide=("g.tif",))
    assert image.guide is not None
    np.testing.assert_allclose(image.guide[0], image.hr, atol=1e-3)  # both without mean, of variance 1
    assert judge(generator, [image], torch.device("cpu"))["psnr"] > 0


def test_image_is_upscaled_whole_with_a_replicated_border() -> None:
    generator = build_generator("nearest", {"scale": (2, 3)})
    sr = upscale_image(generator, torch.tensor([[[[1.0, 2.0]]]]))
    np.testing.assert_array_equal(sr, [[[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2]]])


def test_image_of_any_size_is_upscaled_by_a_generator_that_needs_whole_multiples() -> None:
    generator = build_generator("transposed", {"scale": (2, 3), "channels": 4}).eval()  # multiples of 4
    torch.nn.init.normal_(generator.tail.weight)  # type: ignore[union-attr, arg-type]
    lr = torch.randn(1, 1, 9, 14)
    sr = upscale_image(generator, lr)
    filled = torch.nn.functional.pad(lr, (0, 2, 0, 3), mode="replicate")
    with torch.inference_mode():
        np.testing.assert_array_equal(sr, generator(filled)[0, :, :18, :42].numpy())


def test_log_continues_after_the_finished_steps(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    for first, steps in ((0, (1, 2, 3, 4)), (2, (3, 5))):
        with RunLog(path, step=first, steps=5, progress=False) as log:
            for step in steps:
                row = {"step": step, "phase": "pixel", "loss": step / 3, "seconds": 0.1}
                row |= {"psnr": 30.0, "psnr_cubic": 29.0}
                log.show(row)
                log.write(row)
    lines = path.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "1", "2", "3", "5"]
    assert lines[1].startswith("1,pixel,0.3333333,")
