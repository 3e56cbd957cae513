"""A run that is killed at any moment, even while a checkpoint is written, ends as the unbroken run would."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine

from sr_imaging import load_model, train
from sr_imaging.training.config.data import DataConfig, ModelConfig
from sr_imaging.training.config.phases import AdversarialConfig, LoopConfig, PixelConfig, ScheduleConfig
from sr_imaging.training.config.run import TrainConfig

STEPS = 24, 16
CODE = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_resume import settings
from sr_imaging import train
if __name__ == "__main__":
    train(settings(Path({output!r})), data_root={root!r}, device="cpu", progress=False, resume={resume},
          on_step=lambda row: time.sleep(0.02))
"""


def settings(output: Path) -> TrainConfig:
    """Every tool that keeps a state: both phases, averages, a watch, an early end, noise, two workers."""
    return TrainConfig(
        "killed",
        DataConfig(("scan.tif",), held_out=0.25, patch=8, batch=4, per_plane=2, workers=2),
        model=ModelConfig("espcn", {"scale": (2, 3), "channels": 6}),
        pixel=PixelConfig(
            STEPS[0], terms={"gradient": 0.1}, schedule=ScheduleConfig("step", warmup=3, every=9)
        ),
        adversarial=AdversarialConfig(
            STEPS[1], ramp=4, d_steps=2, instance_noise=0.1, penalty="r1", arguments={"channels": 4}
        ),
        loop=LoopConfig(checkpoint_every=4, validate_every=8, patience=9, accumulate=2),
        output=str(output),
        seed=11,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(3)
    values = np.kron(rng.normal(500, 80, size=(15, 18)), np.ones((6, 5))).astype(np.float32)
    profile: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32632"}
    place = {"height": 90, "width": 90, "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(folder / "scan.tif", "w", **profile, **place) as file:
        file.write(values[None])
    return folder


@pytest.fixture(scope="module")
def unbroken(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    train(settings(folder), data_root=root, device="cpu", progress=False)
    return folder


def launch(root: Path, output: Path, *, resume: bool) -> "subprocess.Popen[bytes]":
    tests = str(Path(__file__).parent)
    code = CODE.format(tests=tests, output=str(output), root=str(root), resume=resume)
    script = output / "run.py"
    script.write_text(code)
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums in the same order
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, **threads},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kill_after_rows(process: "subprocess.Popen[bytes]", log: Path, rows: int, wait_s: float) -> None:
    """Kill the run and its workers with -9 a while after its log has so many rows."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and len(log.read_text().splitlines()) > rows:
            break
        time.sleep(0.02)
    time.sleep(wait_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "seed"), [(1, 1), (3, 2)])
def test_run_killed_at_a_random_step_ends_as_the_unbroken_one(
    rows: int, seed: int, root: Path, unbroken: Path, tmp_path: Path
) -> None:
    wait_s = random.Random(seed).uniform(0.0, 0.3)
    kill_after_rows(launch(root, tmp_path, resume=False), tmp_path / "killed.csv", rows, wait_s)
    assert not (tmp_path / "killed-gan.safetensors").exists()
    train(settings(tmp_path), data_root=root, device="cpu", progress=False, resume=True)
    for name in ("killed", "killed-gan"):
        mine, theirs = (
            load_model(folder / f"{name}.safetensors").state_dict() for folder in (tmp_path, unbroken)
        )
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    left = [
        [line.rsplit(",", 2)[0] for line in (folder / "killed.csv").read_text().splitlines()]
        for folder in (tmp_path, unbroken)
    ]
    assert left[0] == left[1]


HALF = """
import os, signal
from pathlib import Path
import sr_imaging.training.checkpoint as checkpoint
from sr_imaging.training.config.run import DataConfig, TrainConfig
from torch import nn

def half(path, whole):
    real(path, whole[: len(whole) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

real = Path.write_bytes
config = TrainConfig("x", DataConfig(("a",)))
path = Path({path!r})
for step, write in ((7, real), (9, half)):
    Path.write_bytes = write
    checkpoint.save_checkpoint(path, step=step, config=config, modules={{"g": nn.Linear(9, 9)}},
                               optimisers={{}}, state={{}})
"""


@pytest.mark.slow
def test_checkpoint_survives_a_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    from torch import nn

    from sr_imaging.training.checkpoint import load_checkpoint

    path = tmp_path / "x.checkpoint.safetensors"
    code = HALF.format(path=str(path))
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    config = TrainConfig("x", DataConfig(("a",)))
    step, _ = load_checkpoint(path, config=config, modules={"g": nn.Linear(9, 9)}, optimisers={})
    assert step == 7


@pytest.mark.slow
def test_early_end_keeps_the_best_weights_and_skips_the_rest(root: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        "early",
        DataConfig(("scan.tif",), held_out=0.25, patch=8, batch=2, per_plane=2),
        model=ModelConfig("espcn", {"scale": (2, 3), "channels": 4}),
        pixel=PixelConfig(90, rate=0.3, schedule=ScheduleConfig("constant", warmup=0)),  # far too fast
        adversarial=AdversarialConfig(2, arguments={"channels": 4}),
        loop=LoopConfig(validate_every=3, patience=2, ema=0.0),
        output=str(tmp_path),
    )
    seen: list[Any] = []
    train(config, data_root=root, device="cpu", progress=False, on_step=lambda row: seen.append(dict(row)))
    pixel = [row for row in seen if row["phase"] == "pixel"]
    judged = [row["psnr"] for row in pixel if "psnr" in row]
    assert len(pixel) < 90
    assert pixel[-1]["step"] == 3 * len(judged)
    assert [row["step"] for row in seen if row["phase"] == "adversarial"] == [91, 92]
    assert max(judged) not in judged[-2:]
    card = load_model(tmp_path / "early.safetensors").card
    assert card.metrics["psnr"] == pytest.approx(max(judged), abs=1e-3)
