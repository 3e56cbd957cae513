"""Training against the same network and batch in a bare loop over MONAI's plain CacheDataset.

    python benchmarks/training.py [--quick] [--steps 60]

The bare loop has no average of the weights, no clipping, no log and no choice of patches by their detail; its
LR patches are a plain mean. A ratio of 1 means that all of this costs nothing. Printed as well are the share
of a step that waits for data, and the arithmetic of a step over its time.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import rasterio
import torch
from common import make_image
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, RandFlipd, RandRotate90d, RandSpatialCropSamplesd, ToTensord
from torch.nn.functional import avg_pool2d
from torch.utils.flop_counter import FlopCounterMode

import sr_imaging
from sr_imaging.networks import build_generator, replicate
from sr_imaging.training.config.data import DataConfig, ModelConfig
from sr_imaging.training.config.phases import LoopConfig, PixelConfig
from sr_imaging.training.config.run import TrainConfig

LEAST_SPEED, MOST_WAITING = 0.95, 0.05
ARGUMENTS = {"scale": (2, 2), "channels": 32, "blocks": 4}  # the bundled raster-x2
PATCH, BATCH, SCANS = 64, 8, 4  # LR pixels; patches; images of 1024 × 1024
WARM = 10  # steps before the clock starts


def make_config(folder: Path, steps: int) -> TrainConfig:
    """Return the configuration of a run with the same network, patch and batch."""
    return TrainConfig(
        "bench",
        DataConfig(("*.tif",), patch=PATCH, batch=BATCH),
        model=ModelConfig("srresnet", ARGUMENTS),
        pixel=PixelConfig(steps + WARM),
        loop=LoopConfig(validate_every=10**6, checkpoint_every=10**6),
        output=str(folder),
    )


def time_ours(root: Path, steps: int) -> tuple[float, float]:
    """Return the seconds of a step of sr_imaging, and the share of them that waits for data."""
    rows: list[tuple[float, float]] = []

    def note(row: object) -> None:
        rows.append((row["seconds"], row["data_seconds"]))  # type: ignore[index]

    with tempfile.TemporaryDirectory() as folder:
        sr_imaging.train(
            make_config(Path(folder), steps), data_root=root, device="cpu", progress=False, on_step=note
        )
    whole, waited = (sum(column) for column in zip(*rows[WARM:-1], strict=True))
    return whole / (len(rows) - WARM - 1), waited / whole


def time_bare(root: Path, steps: int) -> float:
    """Return the seconds of a step of a loop as one would write it over MONAI's CacheDataset."""
    generator = build_generator("srresnet", ARGUMENTS).train()
    halo = generator.halo[0]
    side = 2 * (PATCH + 2 * halo)
    scans = []
    for path in sorted(root.glob("*.tif")):
        with rasterio.open(path) as file:
            values = file.read()
        scans.append({"hr": (values - values.mean()) / values.std()})
    random = [
        RandSpatialCropSamplesd("hr", (side, side), 4, random_size=False),
        RandFlipd("hr", prob=0.5, spatial_axis=0),
        RandRotate90d("hr", prob=0.75),
    ]
    data = CacheDataset(scans, Compose([ToTensord("hr"), *random]), progress=False)
    loader = DataLoader(data, batch_size=BATCH // 4, shuffle=True)
    optimiser = torch.optim.Adam(generator.parameters(), lr=1e-3)
    done, began = 0, 0.0
    while True:
        for batch in loader:
            if done == WARM:
                began = time.perf_counter()
            if done == WARM + steps:
                return (time.perf_counter() - began) / steps
            hr = batch["hr"].as_tensor()
            sr = generator(avg_pool2d(hr, 2))
            edge = 2 * halo
            loss = torch.sqrt((sr - hr[..., edge:-edge, edge:-edge]) ** 2 + 1e-6).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            done += 1


def count_gflop() -> float:
    """Return the operations of one step, forward and backward, in units of 1e9."""
    generator = build_generator("srresnet", ARGUMENTS)
    lr = replicate(torch.randn(BATCH, 1, PATCH, PATCH), [(h, h) for h in generator.halo])
    with FlopCounterMode(display=False) as counter:
        generator(lr).square().mean().backward()
    return counter.get_total_flops() / 1e9


def main() -> int:
    """Print the ratios; return 1 where they miss their limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    steps, runs, size = (4, 1, 256) if options.quick else (options.steps, 3, 1024)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(SCANS):
            values = make_image(size, size, seed=number)
            place = {"height": size, "width": size, "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
            profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32632"}
            with rasterio.open(root / f"{number}.tif", "w", **profile, **place) as file:
                file.write(values[None])
        found = [(*time_ours(root, steps), time_bare(root, steps)) for _ in range(runs)]
    ratios = sorted(theirs / own for own, _, theirs in found)
    waiting = median(share for _, share, _ in found)
    speed = count_gflop() / np.median([own for own, _, _ in found])
    print(
        f"patches per second over a bare MONAI loop {median(ratios):.2f} (min {ratios[0]:.2f}, max "
        f"{ratios[-1]:.2f}); a step waits {waiting:.1%} of its time for data and does {speed:.0f} Gflop/s"
    )
    return int(not options.quick and (median(ratios) < LEAST_SPEED or waiting > MOST_WAITING))


if __name__ == "__main__":
    sys.exit(main())
