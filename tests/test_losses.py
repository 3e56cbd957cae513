"""Losses: signs, gradients, ramp."""

import pytest
import torch

from sr_imaging.losses import ADVERSARIAL_LOSSES, PIXEL_LOSSES, feature_matching, ramp


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_pixel_loss_is_least_at_the_truth(name: str) -> None:
    hr = torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    loss = PIXEL_LOSSES[name]
    assert loss(hr, hr) < 2e-3  # charbonnier is 1e-3 at zero
    assert loss(hr + 0.5, hr) > loss(hr + 0.1, hr) > loss(hr, hr)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_discriminator_loss_falls_as_it_tells_hr_from_sr(name: str) -> None:
    game = ADVERSARIAL_LOSSES[name]
    right = game.discriminator(torch.full((3,), 0.9), torch.full((3,), -0.1))
    wrong = game.discriminator(torch.full((3,), -0.1), torch.full((3,), 0.9))
    assert right < wrong


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_generator_loss_falls_as_the_discriminator_is_deceived(name: str) -> None:
    logits = torch.zeros(4, requires_grad=True)
    ADVERSARIAL_LOSSES[name].generator(logits, torch.ones(4)).backward()
    assert logits.grad is not None
    assert (logits.grad < 0).all()


def test_hinge_leaves_alone_what_is_beyond_its_margin() -> None:
    game = ADVERSARIAL_LOSSES["hinge"]
    assert game.discriminator(torch.tensor([1.5, 3.0]), torch.tensor([-1.2, -9.0])) == 0


def test_feature_matching_gives_gradient_to_sr_only() -> None:
    sr, hr = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    loss = feature_matching([sr, 3 * sr], [hr, hr])
    loss.backward()
    assert loss.item() == pytest.approx(2)
    assert sr.grad is not None
    assert hr.grad is None


def test_ramp_grows_evenly_to_one() -> None:
    assert [ramp(step, 4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
