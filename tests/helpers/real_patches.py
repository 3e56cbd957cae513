"""Patches of real scans as a training run gives them: zero mean in each band, unit variance."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sr_imaging

RASTER = "satellite/landsat8_zion_utah/landsat8_zion_b2345.tif"
VOLUME = "medical/mr_t1_colin27/ch2.nii.gz"


def real_patches(
    data: Path, size: tuple[int, ...], *, bands: int = 1, count: int = 8, seed: int = 0
) -> Tensor:
    """Draw ``(count, bands, *size)`` patches: of a raster for two axes, of a brain for three."""
    values = np.asarray(sr_imaging.read(data / (RASTER if len(size) == 2 else VOLUME)), dtype=np.float32)
    values = values[:bands] if len(size) == 2 else values[None, 40:140, 40:140, 40:140]
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    while len(found) < count:
        starts = [rng.integers(n - s + 1) for n, s in zip(values.shape[1:], size, strict=True)]
        window = tuple(slice(a, a + s) for a, s in zip(starts, size, strict=True))
        patch = values[(slice(None), *window)]
        if patch.std() > 0.2 * values.std():
            axes = tuple(range(1, patch.ndim))
            found.append((patch - patch.mean(axes, keepdims=True)) / patch.std())
    return torch.from_numpy(np.stack(found))
