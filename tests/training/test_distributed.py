"""Several processes, started by torchrun: equal weights, the result of one process, a lost one, too many."""

import csv
import os
import re
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

from sr_imaging import ConfigError, load_model
from sr_imaging.training.distributed import ALONE, Team, team_of

RUN = """
name = "shared"
output = "{output}"
seed = 5
[data]
train = ["scan.tif"]
held_out = 0.3
patch = 8
batch = 4
per_plane = 1
validation_images = 3
[model]
architecture = "espcn"
arguments = {{ scale = [2, 2], channels = 6, latent_channels = 2 }}
[pixel]
steps = {steps}
schedule = {{ warmup = 0 }}
[adversarial]
steps = {adversarial}
loss = "relativistic"
instance_noise = 0.3
penalty = "gradient"
ramp = 2
feature_weight = 0.1
arguments = {{ channels = 4 }}
schedule = {{ warmup = 0 }}
[loop]
validate_every = 4
checkpoint_every = 4
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    values = np.kron(rng.normal(500, 80, size=(18, 14)), np.ones((6, 7))).astype(np.float32)
    profile: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32632"}
    place = {"height": 108, "width": 98, "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(folder / "scan.tif", "w", **profile, **place) as file:
        file.write(values[None])
    return folder


def start(root: Path, name: str, *options: str, processes: int, steps: int = 6, adversarial: int = 4) -> Any:
    """Start a run as its users do; one thread a process, so that none waits for a core."""
    output = root / name
    toml = root / f"{name}.toml"
    toml.write_text(RUN.format(output=output, steps=steps, adversarial=adversarial))
    train = [
        "-m",
        "sr_imaging.cli",
        "train",
        str(toml),
        "--data-root",
        str(root),
        "--device",
        "cpu",
        *options,
    ]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(launch if processes > 1 else []), *train]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SR_IMAGING_STATE_OF": name},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: Any) -> str:
    said, _ = process.communicate(timeout=240)
    return str(said)


@pytest.fixture(scope="module")
def finished(root: Path) -> Path:
    runs = [start(root, "one", processes=1), start(root, "two", processes=2)]
    for run in runs:
        said = finish(run)
        assert run.returncode == 0, said
    return root


def figures(path: Path) -> dict[str, list[float]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    games = ("discriminator", "penalty", "accuracy_hr", "accuracy_sr", "diversity", "discriminator_norm")
    names = ("loss", "pixel", "adversarial", *games, "gradient_norm", "psnr", "ssim", "psnr_cubic")
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".safetensors", "-gan.safetensors"])
def test_two_processes_train_the_model_of_one(finished: Path, ending: str) -> None:
    one, two = (load_model(finished / name / f"shared{ending}").state_dict() for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=2e-5, rtol=1e-3)  # float rounding through Adam


@pytest.mark.slow
def test_two_processes_validate_on_the_whole_set(finished: Path) -> None:
    one, two = (figures(finished / name / "shared.csv") for name in ("one", "two"))
    assert len(one["psnr"]) == 4
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=2e-3), name


@pytest.mark.slow
def test_weights_are_equal_in_all_processes(root: Path, tmp_path: Path) -> None:
    code = f"""
import hashlib, torch
import sr_imaging.training.loop as training
finish = training.finish_phase
def finish_with_print(run, phase):
    for name, module in sorted(run.modules.items()):
        raw = b"".join(v.numpy().tobytes() for v in module.state_dict().values())
        print("WEIGHTS", phase.name, name, hashlib.sha256(raw).hexdigest(), flush=True)
    finish(run, phase)
training.finish_phase = finish_with_print
training.train({str(tmp_path / "run.toml")!r}, data_root={str(root)!r}, device="cpu", progress=False)
"""
    (tmp_path / "run.py").write_text(code)
    (tmp_path / "run.toml").write_text(RUN.format(output=tmp_path, steps=3, adversarial=3))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "run.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"WEIGHTS (\w+ \w+) (\w{64})", done.stdout)
    assert len(found) == 2 * (3 + 3)  # two processes, three networks, two phases
    assert len(set(found)) == 6


@pytest.mark.slow
def test_lost_process_ends_the_run_with_a_checkpoint(root: Path) -> None:
    process = start(root, "lost", processes=2, steps=4000, adversarial=0)
    log = root / "lost" / "shared.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not log.is_file() or log.read_text().count("\n") < 4):
        time.sleep(0.2)
    os.kill(_worker(process.pid, rank=1), signal.SIGKILL)
    said = finish(process)
    assert process.returncode != 0
    assert re.search(r"another process of the run was lost; start torchrun again with --resume", said), said
    checkpoint = root / "lost" / "shared.checkpoint.safetensors"
    assert checkpoint.is_file()
    toml = root / "lost.toml"
    toml.write_text(toml.read_text())
    again = start(root, "lost", "--resume", processes=2, steps=4000, adversarial=0)
    before = log.stat().st_mtime
    while time.monotonic() < deadline + 120 and log.stat().st_mtime == before:
        time.sleep(0.2)
    os.killpg(again.pid, signal.SIGINT)
    said = finish(again)
    assert re.search(r"a checkpoint of step \d+ is kept; go on with --resume|another process was asked", said)


def _worker(launcher: int, *, rank: int) -> int:
    """Process number of one of the workers of torchrun."""
    for folder in Path("/proc").iterdir():
        try:
            state = (folder / "stat").read_text().split()
            world = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if state[3] == str(launcher) and f"RANK={rank}".encode() in world:
            return int(folder.name)
    raise AssertionError(f"no worker of rank {rank}")


def test_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with (
        pytest.raises(
            ConfigError, match=r"data.batch 8 cannot be shared evenly by 3 processes .* multiple of 6"
        ),
        team_of(torch.device("cpu"), batch=8, parts=2),
    ):
        pass


def test_more_processes_than_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "7")
    with (
        pytest.raises(ConfigError, match=r"process 7 of this machine has no GPU of its own"),
        team_of(torch.device("cuda"), batch=8, parts=1),
    ):
        pass


def test_process_alone_needs_no_messages() -> None:
    with team_of(torch.device("cpu"), batch=3, parts=1) as (team, device):
        assert (team, device) == (ALONE, torch.device("cpu"))
    assert ALONE.mean([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.any(True)
    assert Team(1, 2).leads is False
