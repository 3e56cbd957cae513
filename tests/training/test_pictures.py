"""What one looks at in a run: TensorBoard, pictures of held-out images, the curves."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image as pictures

from sr_imaging.networks import build_generator
from sr_imaging.training.monitoring.log import COLUMNS
from sr_imaging.training.monitoring.pictures import Monitor, draw_curves
from sr_imaging.training.monitoring.validation import HeldOut, judge


def held_out(shape: tuple[int, ...], bands: int, scale: tuple[int, ...]) -> HeldOut:
    rng = np.random.default_rng(0)
    hr = rng.normal(size=(bands, *(n * s for n, s in zip(shape, scale, strict=True)))).astype(np.float32)
    lr = torch.from_numpy(rng.normal(size=(1, bands, *shape)).astype(np.float32))
    return HeldOut(lr, hr, np.ones(hr.shape, bool), 4.0, (20.0, 0.5), scale)


@pytest.mark.parametrize(
    ("shape", "bands", "scale"), [((9, 12), 1, (2, 3)), ((9, 12), 4, (2, 2)), ((5, 9, 12), 1, (2, 1, 3))]
)
def test_picture_shows_every_image_from_lr_to_hr(
    shape: tuple[int, ...], bands: int, scale: tuple[int, ...], tmp_path: Path
) -> None:
    generator = build_generator("espcn", {"scale": scale, "channels": 4, "in_channels": bands}).train()
    image = held_out(shape, bands, scale)
    with Monitor(tmp_path, step=0) as monitor:
        monitor.picture(12, generator, [image, image])
    drawn = pictures.imread(tmp_path / "step-000012.png")
    assert generator.training
    assert drawn.shape[1] > drawn.shape[0]  # four pictures wide, two rows
    columns = np.array_split(drawn[..., :3], 4, axis=1)
    assert all(column.std() > 0.1 for column in columns)


def test_tensorboard_has_scalars_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
    image = held_out((9, 12), 1, (2, 2))
    with Monitor(tmp_path, step=0) as monitor:
        for step in (10, 20):
            row = {"step": step, "phase": "adversarial", "loss": 1 / step, "accuracy_hr": 0.75}
            monitor.write(row | judge(generator, [image], torch.device("cpu")))
        monitor.picture(20, generator, [image])
    events = EventAccumulator(str(tmp_path)).Reload()
    tags = events.Tags()
    assert {"training/loss", "training/accuracy_hr"} < set(tags["scalars"])
    assert {f"validation/{name}" for name in ("psnr", "psnr_cubic", "ssim", "ssim_cubic")} < set(
        tags["scalars"]
    )
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("training/loss")] == [(10, 0.1), (20, 0.05)]
    assert tags["images"] == ["held-out/1: LR, cubic, SR, HR"]
    assert events.Images(tags["images"][0])[0].width == 4 * 24


def test_new_run_removes_what_an_earlier_one_showed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("step-000500.png", "events.out.tfevents.1", "notes.txt"):
        (tmp_path / name).write_text("old")
    with Monitor(tmp_path, step=5):
        assert (tmp_path / "step-000500.png").exists()
    with Monitor(tmp_path, step=0):
        assert not (tmp_path / "step-000500.png").exists()
        assert not (tmp_path / "events.out.tfevents.1").exists()
        assert (tmp_path / "notes.txt").exists()


def test_silent_monitor_leaves_nothing(tmp_path: Path) -> None:
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
    with Monitor(tmp_path / "log", step=0, silent=True) as monitor:
        monitor.write({"step": 1, "phase": "pixel", "loss": 1.0})
        monitor.picture(1, generator, [held_out((9, 12), 1, (2, 2))])
    assert not (tmp_path / "log").exists()


@pytest.mark.slow
def test_curves_are_drawn_from_the_log_alone(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for step in range(10, 210, 10):
            row = {"step": step, "phase": "pixel" if step < 100 else "adversarial", "pixel": 1 / step}
            row |= {"gradient_norm": 5.0, "rate": 1e-3}
            row |= {"psnr": 30 + step / 100, "psnr_cubic": 30} if step % 50 == 0 else {}
            row |= {"accuracy_hr": 0.8, "accuracy_sr": 0.7} if step >= 100 else {}
            writer.writerow(row)
    draw_curves(tmp_path / "a.csv", tmp_path / "a.png", title="a")
    drawn = pictures.imread(tmp_path / "a.png")
    assert drawn.shape[1] == 1200
    assert drawn[..., :3].std() > 0.05


def test_missing_tensorboard_is_told_and_leaves_the_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    caplog.set_level("INFO", "sr_imaging.training.monitoring.pictures")
    with Monitor(tmp_path, step=0) as monitor:
        monitor.write({"step": 1, "phase": "pixel", "loss": 1.0})
    assert "pip install 'sr-imaging[train]'" in caplog.text
