"""Learned generators in 3-D: a short fit on a real volume gets below the loss of cubic interpolation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.builders import SMALL, run_padded
from helpers.real_patches import real_patches
from torch import Tensor

from sr_imaging.networks import build_generator

FITS: list[tuple[str, dict[str, Any]]] = [
    ("srcnn", {"scale": (1, 2, 2), "channels": 4}),
    ("vdsr", {"scale_range": ((1.0, 1.0), (2.0, 4.0), (2.0, 4.0))}),
    ("espcn", {"scale": (2, 1, 2)}),
    ("srresnet", {"scale": (2, 2, 1)}),
    ("edsr", {"scale": (1, 2, 2)}),
]
HR = (12, 20, 16)  # pixels of a patch


def seen_by(module: Any, hr: Tensor) -> Tensor:
    """LR by area mean with its replicated halo; interpolated to the HR grid for a model of any factor."""
    span = module.scale_range
    scale = module.scale if span is None else tuple(1 if high == 1 else 2 for _, high in span)
    lr = torch.nn.functional.avg_pool3d(hr, scale)
    if span is not None:
        cubic: Any = build_generator("cubic", {"scale": scale})
        lr = run_padded(cubic, lr)
    for k, h in enumerate(module.halo):
        lr = lr.index_select(2 + k, torch.arange(-h, lr.shape[2 + k] + h).clamp(0, lr.shape[2 + k] - 1))
    return lr


@pytest.mark.parametrize(("architecture", "arguments"), FITS)
def test_short_fit_of_a_volume_gets_below_the_loss_of_cubic(
    shared_data: Path, architecture: str, arguments: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    module: Any = build_generator(architecture, {"channels": 8, **SMALL.get(architecture, {}), **arguments})
    hr = real_patches(shared_data, HR, count=6)
    lr = seen_by(module, hr)
    optimiser = torch.optim.Adam(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = (module(lr) - hr).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]  # the first is that of cubic: the last layer begins at zero
