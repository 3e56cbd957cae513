"""Losses against the truth: values by hand and by others, gradients, refusals."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as skimage_ssim
from torch import Tensor

from sr_imaging import ConfigError
from sr_imaging.losses import image_terms as losses
from sr_imaging.losses.image_terms import (
    PIXEL_LOSSES,
    STRUCTURE_LOSSES,
    check_losses,
    feature_matching,
    spectral_angle,
    structural_similarity,
)

SIZES = [(9, 12), (8, 11, 9)]
every_size = pytest.mark.parametrize("size", SIZES)


def patches(size: tuple[int, ...], *, bands: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An estimate and a truth, ``(2, bands, *size)``, of about unit variance."""
    rng = np.random.default_rng(seed)
    hr = torch.tensor(rng.standard_normal((2, bands, *size)), dtype=torch.float32)
    return hr + 0.3 * torch.tensor(rng.standard_normal(hr.shape), dtype=torch.float32), hr


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_pixel_loss_is_least_at_the_truth(name: str) -> None:
    hr = patches((5, 6))[1]
    loss = PIXEL_LOSSES[name]
    assert loss(hr, hr) < 2e-3  # charbonnier is 1e-3 at zero
    assert loss(hr + 0.5, hr) > loss(hr + 0.1, hr) > loss(hr, hr)


@pytest.mark.parametrize(("name", "value"), [("l1", 2.5), ("l2", 8.5), ("charbonnier", 2.5)])
def test_pixel_loss_has_the_value_of_its_formula(name: str, value: float) -> None:
    sr, hr = torch.tensor([[[[1.0, -4.0]]]]), torch.zeros(1, 1, 1, 2)
    assert PIXEL_LOSSES[name](sr, hr).item() == pytest.approx(
        value, rel=1e-6
    )  # 1e-6 under charbonnier's root


@every_size
@pytest.mark.parametrize("name", sorted(set(STRUCTURE_LOSSES) - {"total_variation"}))
def test_structure_loss_grows_away_from_the_truth(name: str, size: tuple[int, ...]) -> None:
    sr, hr = patches(size)
    near, far = (STRUCTURE_LOSSES[name](hr + share * (sr - hr), hr) for share in (0.2, 1.0))
    assert abs(STRUCTURE_LOSSES[name](hr, hr).item()) < 1e-6
    assert far > near > 1e-3


@every_size
@pytest.mark.parametrize("name", STRUCTURE_LOSSES)
def test_structure_loss_falls_along_its_gradient(name: str, size: tuple[int, ...]) -> None:
    sr, hr = patches(size)
    before = STRUCTURE_LOSSES[name](sr.requires_grad_(), hr)
    (slope,) = torch.autograd.grad(before, sr)
    assert slope.isfinite().all()
    after = STRUCTURE_LOSSES[name](sr - 1e-2 * slope / slope.abs().max(), hr)
    assert after < before


@pytest.mark.parametrize("name", STRUCTURE_LOSSES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_structure_loss_has_a_finite_gradient_where_nothing_differs(name: str, value: float) -> None:
    sr = torch.full((2, 3, 8, 9), value, requires_grad=True)
    STRUCTURE_LOSSES[name](sr, sr.detach().clone()).backward()
    assert sr.grad is not None
    assert sr.grad.isfinite().all()


@pytest.mark.parametrize("name", STRUCTURE_LOSSES)
def test_structure_loss_does_not_depend_on_the_order_of_axes(name: str) -> None:
    sr, hr = patches((8, 11, 9))
    turned = [values.permute(0, 1, 4, 2, 3) for values in (sr, hr)]
    assert STRUCTURE_LOSSES[name](*turned).item() == pytest.approx(
        STRUCTURE_LOSSES[name](sr, hr).item(), rel=1e-5
    )


@every_size
def test_ssim_equals_scikit_image(size: tuple[int, ...]) -> None:
    sr, hr = patches(size, seed=4)
    expected = [
        skimage_ssim(s.astype(np.float64), h.astype(np.float64), win_size=7, data_range=losses.DATA_RANGE)
        for s, h in zip(sr.flatten(0, 1).numpy(), hr.flatten(0, 1).numpy(), strict=True)
    ]
    assert 1 - structural_similarity(sr, hr).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_gradient_counts_steps_of_the_difference() -> None:
    hr = torch.zeros(1, 1, 2, 3)
    sr = torch.tensor([[[[0.0, 1, 3], [0, 1, 3]]]]) + 7  # steps of 0 down, of 1 and 2 across
    assert STRUCTURE_LOSSES["gradient"](sr, hr).item() == pytest.approx((0 + 1.5) / 2)


def test_total_variation_counts_steps_of_the_estimate() -> None:
    sr = torch.tensor([[[[0.0, 1, 3], [4, 5, 7]]]])  # steps of 4 down, of 1 and 2 across
    assert STRUCTURE_LOSSES["total_variation"](sr, 9 * sr).item() == pytest.approx((4 + 1.5) / 2)


def test_fourier_does_not_see_a_shift() -> None:
    hr = patches((9, 12))[1]
    assert STRUCTURE_LOSSES["fourier"](hr.roll((2, 3), (2, 3)), hr).item() < 1e-6
    assert PIXEL_LOSSES["l1"](hr.roll((2, 3), (2, 3)), hr) > 0.5


def test_fourier_has_the_value_of_its_formula() -> None:
    sr, hr = torch.full((1, 1, 4, 6), 2.0), torch.zeros(1, 1, 4, 6)
    amplitude = 2 * math.sqrt(4 * 6)  # all in the mean, one of 24 frequencies
    assert STRUCTURE_LOSSES["fourier"](sr, hr).item() == pytest.approx(amplitude / 24, rel=1e-6)


@pytest.mark.parametrize("angle", [1e-4, 0.3, math.pi / 2, 3.0])
def test_spectral_angle_is_the_angle_whatever_the_lengths(angle: float) -> None:
    hr = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 3, 4)
    sr = 5 * torch.tensor([math.cos(angle), math.sin(angle)]).reshape(1, 2, 1, 1).expand(1, 2, 3, 4)
    assert spectral_angle(sr, hr).item() == pytest.approx(angle, rel=1e-4)


def test_spectral_angle_leaves_out_pixels_without_direction() -> None:
    hr = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).T.reshape(1, 2, 1, 2)
    sr = torch.tensor([[0.0, 2.0], [1.0, 1.0]]).T.reshape(1, 2, 1, 2).clone().requires_grad_()
    loss = spectral_angle(sr, hr)
    loss.backward()
    assert loss.item() == pytest.approx(math.pi / 2)
    assert sr.grad is not None
    assert (sr.grad[..., 1] == 0).all()


@pytest.mark.parametrize(
    ("names", "bands", "size", "match"),
    [
        (["ssim", "simm"], 1, (9, 9), "unknown structure term 'simm'; use one of ssim"),
        (["spectral_angle"], 1, (9, 9), "at least 2 bands"),
        (["gradient", "ssim"], 1, (12, 6), "at least 7 HR pixels on each side, not \\(12, 6\\)"),
    ],
)
def test_impossible_terms_are_refused(
    names: list[str], bands: int, size: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        check_losses(names, bands, size)


def test_possible_terms_are_taken() -> None:
    check_losses(STRUCTURE_LOSSES, 2, (7, 9))


@pytest.mark.parametrize("name", [*STRUCTURE_LOSSES, "charbonnier"])
def test_loss_names_its_paper(name: str) -> None:
    text = {**PIXEL_LOSSES, **STRUCTURE_LOSSES}[name].__doc__ or ""
    assert "References\n" in text


def test_feature_matching_gives_gradient_to_sr_only() -> None:
    sr, hr = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    loss = feature_matching([sr, 3 * sr], [hr, hr])
    loss.backward()
    assert loss.item() == pytest.approx(2)
    assert sr.grad is not None
    assert hr.grad is None
