"""Discriminator accuracy: counted over valid patches, in the values of training."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sr_imaging import ConfigError
from sr_imaging.evaluation.discriminator_accuracy import accuracy_by_image

CPU: dict[str, Any] = {"fixed_values": None, "device": "cpu"}


class Roughness(nn.Module):
    """Takes a patch for real where its neighbours along x differ by more than a threshold, on average."""

    def __init__(self, threshold: float, loss: str = "hinge") -> None:
        super().__init__()
        self.size = (8, 12)
        self.in_channels = 1
        self.loss = loss
        self.threshold = threshold
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        self.seen.append(x)
        rough = x.diff(dim=-1).abs().flatten(1).mean(1)
        return [x, rough - self.threshold]


def images(count: int = 2, bands: int = 1, shape: tuple[int, ...] = (30, 40)) -> np.ndarray:
    return 50 + 7 * np.random.default_rng(0).normal(size=(count, bands, *shape))


def everywhere(hr: np.ndarray) -> np.ndarray:
    return np.ones(hr.shape, bool)


def test_judge_that_knows_rough_from_smooth_is_always_right() -> None:
    hr = images()
    smooth = hr - (hr - hr.mean()) * 0.9
    found = accuracy_by_image(
        Roughness(0.5), hr, {"sr": smooth}, valid=everywhere(hr), spread=np.full(2, 7.0), **CPU
    )
    assert found == {"hr": 1.0, "sr": 1.0}


def test_judge_that_takes_all_for_real_is_right_on_originals_only() -> None:
    hr = images()
    found = accuracy_by_image(
        Roughness(-1.0), hr, {"sr": hr}, valid=everywhere(hr), spread=np.full(2, 7.0), **CPU
    )
    assert found == {"hr": 1.0, "sr": 0.0}


@pytest.mark.parametrize(
    ("loss", "right"),
    [("hinge", {"hr": 1.0, "sr": 0.0}), ("lsgan", {"hr": 1.0, "sr": 1.0}), ("", {"hr": 1.0, "sr": 1.0})],
)
def test_verdicts_are_read_by_the_rule_of_their_loss(loss: str, right: dict[str, float]) -> None:
    hr = images()
    smooth = hr - (hr - hr.mean()) * 0.9
    judge = Roughness(0.0, loss)  # about 0.6 to 1 on originals, a tenth on estimates: above 0, below 0.5
    found = accuracy_by_image(judge, hr, {"sr": smooth}, valid=everywhere(hr), spread=np.full(2, 7.0), **CPU)
    assert found == right


def test_unknown_loss_is_refused() -> None:
    hr = images()
    with pytest.raises(ConfigError, match="unknown loss 'hing'"):
        accuracy_by_image(
            Roughness(0.0, "hing"), hr, {"sr": hr}, valid=everywhere(hr), spread=np.full(2, 7.0), **CPU
        )


def test_patches_have_the_values_of_training() -> None:
    hr = images()
    judge = Roughness(0.0)
    accuracy_by_image(judge, hr, {"sr": hr + 3.5}, valid=everywhere(hr), spread=np.full(2, 28.0), **CPU)
    real, made = torch.cat(judge.seen[::2]), torch.cat(judge.seen[1::2])
    assert real.mean((1, 2, 3)).abs().max() < 1e-5
    assert real.std((1, 2, 3)).mean() == pytest.approx(0.5, abs=0.02)  # sqrt(7 / 28): half scan, half own
    shift = (made - real).mean((1, 2, 3))
    assert shift.mean() == pytest.approx(3.5 / np.sqrt(7 * 28), abs=0.01)  # an offset of the estimate stays


def test_fixed_values_are_those_of_the_generator() -> None:
    hr = images()
    judge = Roughness(0.0)
    options: dict[str, Any] = {"fixed_values": (50.0, 10.0), "device": "cpu"}
    accuracy_by_image(judge, hr, {"sr": hr}, valid=everywhere(hr), spread=np.full(2, 7.0), **options)
    assert torch.cat(judge.seen).std() == pytest.approx(0.7, abs=0.02)


def test_patches_with_invalid_pixels_do_not_count() -> None:
    hr = images(1)
    valid = everywhere(hr)
    valid[..., 20:] = False
    judge = Roughness(0.0)
    wild = np.where(valid, hr, np.nan)
    accuracy_by_image(judge, wild, {"sr": wild}, valid=valid, spread=np.full(1, 7.0), **CPU)
    seen = torch.cat(judge.seen[::2])
    assert 0 < len(seen) <= 3
    assert bool(seen.isfinite().all())


def test_no_patch_no_figure() -> None:
    hr = images(1, shape=(6, 40))
    found = accuracy_by_image(
        Roughness(0.0), hr, {"sr": hr}, valid=everywhere(hr), spread=np.full(1, 7.0), **CPU
    )
    assert np.isnan(list(found.values())).all()
