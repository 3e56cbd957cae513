"""Every learned generator learns: a short fit on real patches lowers its loss below that of its start."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import SMALL
from torch import Tensor
from torch.nn import functional

import sr_imaging
from sr_imaging.networks import CLASSICAL, GENERATORS, build_generator

RASTER = "satellite/landsat8_zion_utah/landsat8_zion_b2345.tif"
CORE = 8  # LR pixels of a patch
FITS: dict[str, dict[str, Any]] = {
    "srcnn": {"scale": (2, 2)},
    "vdsr": {"scale_range": ((1.0, 4.0), (1.0, 4.0))},
    "espcn": {"scale": (2, 2)},
    "srresnet": {"scale": (2, 2)},
    "edsr": {"scale": (2, 2)},
    "rrdb": {"scale": (2, 2)},
    "attention": {"scale": (2, 2)},
    "transposed": {"scale": (2, 2)},
    "vae": {"scale": (2, 2)},
    "guided": {"scale": (2, 2)},
}
NOISY: dict[str, dict[str, Any]] = {"srresnet": {"scale": (2, 2), "latent_channels": 2}}


@cache
def pixels(data: Path) -> np.ndarray:
    """Two bands of a raster, each of zero mean and unit variance."""
    values = np.asarray(sr_imaging.read(data / RASTER), dtype=np.float32)[[0, 3]]
    mean, std = (f(values, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    return np.asarray((values - mean) / std)


def pairs(data: Path, halo: tuple[int, ...], scale: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """LR patches with halo, HR ones without, and another band of HR with halo."""
    rng = np.random.default_rng(5)
    side = 2 * (CORE + 2 * max(halo))
    places = [tuple(rng.integers(n - side) for n in (1000, 900)) for _ in range(6)]
    both = torch.from_numpy(np.stack([pixels(data)[:, y : y + side, x : x + side] for y, x in places]))
    lr, hr = functional.avg_pool2d(both[:, :1], 2), both[:, :1]
    if scale == (1, 1):  # a network for any factor sees the image on the fine grid
        lr = functional.interpolate(lr, scale_factor=2, mode="bilinear")
    wide = [(CORE * 2 // s) + 2 * h for h, s in zip(halo, scale, strict=True)]
    fine = [n * s for n, s in zip(wide, scale, strict=True)]
    return _middle(lr, wide), _middle(hr, [2 * CORE] * 2), _middle(both[:, 1:], fine)


def _middle(x: Tensor, size: list[int]) -> Tensor:
    """Cut the middle out of ``(B, C, *n)``."""
    for k, n in enumerate(size):
        x = x.narrow(2 + k, (x.shape[2 + k] - n) // 2, n)
    return x


def fit(architecture: str, arguments: dict[str, Any], data: Path, steps: int = 40) -> tuple[float, float]:
    """Loss of a generator before and after a few steps on one batch."""
    torch.manual_seed(0)
    module: Any = build_generator(architecture, {"channels": 8, **SMALL.get(architecture, {}), **arguments})
    lr, hr, guide = pairs(data, module.halo or (0, 0), module.scale)
    inputs = (lr, guide) if module.guide_channels else (lr,)

    def loss() -> Tensor:
        return functional.l1_loss(module(*inputs), hr)

    with torch.no_grad():
        before = loss()
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        total = loss() + 1e-3 * getattr(module, "divergence", torch.zeros(()))
        total.backward()
        optimiser.step()
    with torch.no_grad():
        return float(before), float(loss())


def test_fits_cover_every_learned_generator() -> None:
    assert set(FITS) == set(GENERATORS) - set(CLASSICAL)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "arguments"), [*FITS.items(), *NOISY.items()])
def test_generator_learns_real_patches(
    architecture: str, arguments: dict[str, Any], shared_data: Path
) -> None:
    before, after = fit(architecture, arguments, shared_data)
    assert after < 0.97 * before  # it starts at its interpolation


def test_guide_is_worth_more_than_the_image_alone(shared_data: Path) -> None:
    _, alone = fit("srresnet", {"scale": (2, 2)}, shared_data)
    _, guided = fit("guided", {"scale": (2, 2)}, shared_data)
    assert guided < 0.9 * alone
