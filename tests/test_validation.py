"""Validation in training: images, nodata, figures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sr_imaging.config import DataConfig, DegradationConfig
from sr_imaging.networks import build_generator
from sr_imaging.patches import PatchPlan
from sr_imaging.runlog import RunLog
from sr_imaging.validation import fill_invalid, held_out_images, judge, upscale_image


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


def test_invalid_pixels_take_their_nearest_valid_one() -> None:
    values = np.array([[1.0, np.nan, np.nan, 4.0]])
    np.testing.assert_array_equal(fill_invalid(values, np.isfinite(values)), [[1, 1, 4, 4]])


def test_image_is_upscaled_whole_with_a_replicated_border() -> None:
    generator = build_generator("nearest", {"scale": (2, 3)})
    sr = upscale_image(generator, torch.tensor([[[[1.0, 2.0]]]]))
    np.testing.assert_array_equal(sr, [[[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2]]])


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
