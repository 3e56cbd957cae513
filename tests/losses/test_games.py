"""Adversarial games: values by hand, labels, clipping, penalties; each game is learnt on real patches."""

import math
from pathlib import Path

import pytest
import torch
from helpers.real_patches import real_patches
from torch import Tensor, nn

from sr_imaging import ConfigError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES, accuracy, check_adversarial
from sr_imaging.losses.penalties import PENALTIES, clip_weights, gradient_penalty, r1_penalty
from sr_imaging.networks.discriminators.layers import NORMS
from sr_imaging.networks.discriminators.registry import DISCRIMINATORS, build_discriminator

every_game = pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
HR, SR = torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 0.2, 0.5])  # of different number: means are of each


def cross_entropy(logits: Tensor, label: float) -> float:
    """The textbook formula."""
    values = logits.sigmoid()
    return float((-label * values.log() - (1 - label) * (1 - values).log()).mean())


def by_hand(name: str, smooth: float) -> tuple[float, float]:
    """Losses of discriminator and generator on HR and SR, as the papers write them."""
    label = 1 - smooth
    hr_to_sr, sr_to_hr = HR - SR.mean(), SR - HR.mean()
    return {
        "vanilla": (cross_entropy(HR, label) + cross_entropy(SR, 0), cross_entropy(SR, 1)),
        "lsgan": (((2 - label) ** 2 + (0.5 - label) ** 2) / 2 + (1 + 0.04 + 0.25) / 3, (4 + 0.64 + 0.25) / 3),
        "hinge": ((0 + 0.5) / 2 + (0 + 1.2 + 1.5) / 3, 0.1),
        "wgan": (-0.1 - 1.25, 0.1),
        "wgan-gp": (-0.1 - 1.25, 0.1),
        "relativistic": (
            cross_entropy(hr_to_sr, label) + cross_entropy(sr_to_hr, 0),
            cross_entropy(hr_to_sr, 0) + cross_entropy(sr_to_hr, 1),
        ),
    }[name]


@every_game
@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_game_has_the_values_of_its_paper(name: str, smooth: float) -> None:
    game = ADVERSARIAL_LOSSES[name]
    smooth = smooth if game.labels else 0.0
    found = (game.discriminator(HR, SR, smooth=smooth).item(), game.generator(SR, HR).item())
    assert found == pytest.approx(by_hand(name, smooth), rel=1e-5)


@every_game
def test_discriminator_loss_falls_as_it_tells_hr_from_sr(name: str) -> None:
    game = ADVERSARIAL_LOSSES[name]
    right = game.discriminator(torch.full((3,), 0.9), torch.full((3,), -0.1))
    wrong = game.discriminator(torch.full((3,), -0.1), torch.full((3,), 0.9))
    assert right < wrong


@every_game
def test_generator_loss_falls_as_the_discriminator_is_deceived(name: str) -> None:
    logits = torch.zeros(4, requires_grad=True)
    ADVERSARIAL_LOSSES[name].generator(logits, torch.ones(4)).backward()
    assert logits.grad is not None
    assert (logits.grad < 0).all()


@every_game
def test_games_that_use_hr_are_those_that_say_so(name: str) -> None:
    game = ADVERSARIAL_LOSSES[name]
    if game.uses_hr:
        with pytest.raises(ConfigError, match="pass the logits of HR"):
            game.generator(SR)
    else:
        assert game.generator(SR) == game.generator(SR, HR)


@pytest.mark.parametrize("name", [name for name, game in ADVERSARIAL_LOSSES.items() if game.labels])
def test_smoothed_label_moves_the_best_logit_of_hr_alone(name: str) -> None:
    game = ADVERSARIAL_LOSSES[name]
    best = 0.9 if name == "lsgan" else math.log(0.9 / 0.1)  # where the label 0.9 is met
    hr = torch.tensor([best], requires_grad=True)
    sr = torch.zeros(1)
    game.discriminator(hr, sr, smooth=0.1).backward()
    assert hr.grad is not None
    if name == "relativistic":  # its other half pushes HR up, whatever the label
        hr.grad += torch.sigmoid(sr - hr.detach())
    assert hr.grad.abs() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"loss": "higne"}, "unknown adversarial.loss 'higne'; use one of hinge"),
        (
            {"loss": "hinge", "smooth": 0.1},
            "the hinge game has no label that could be smoothed by 0.1; .* vanilla",
        ),
        ({"loss": "wgan-gp", "smooth": 0.1}, "the wgan-gp game has no label"),
        ({"loss": "vanilla", "smooth": 0.5}, "label smoothing 0.5 is not in 0 to below 0.5"),
        ({"loss": "vanilla", "penalty": "r2"}, "unknown penalty 'r2'; use one of r1, gradient"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        check_adversarial(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("loss", "penalty"), [("wgan-gp", ""), ("hinge", "gradient")])
def test_gradient_penalty_refuses_batch_norm(loss: str, penalty: str) -> None:
    network = build_discriminator("patch", {"norm": "batch", "channels": 4}, size=(16, 16), in_channels=1)
    check_adversarial("wgan", penalty="r1", discriminator=network)  # has no such trouble
    with pytest.raises(ConfigError, match="does not work with batch norm"):
        check_adversarial(loss, penalty=penalty, discriminator=network)
    x = torch.zeros(2, 1, 16, 16)
    with pytest.raises(ConfigError, match="does not work with batch norm"):
        gradient_penalty(network, x, x)


@every_game
def test_accuracy_is_a_half_where_verdicts_are_alike(name: str) -> None:
    game, logits = ADVERSARIAL_LOSSES[name], torch.tensor([-1.0, 2.0])
    assert accuracy(game, logits, logits) == (0.5, 0.5)
    assert accuracy(game, logits + 9, logits - 9) == (1.0, 1.0)


def test_least_squares_verdict_turns_half_way_between_its_labels() -> None:
    assert accuracy(ADVERSARIAL_LOSSES["lsgan"], torch.tensor([0.4, 0.6]), torch.tensor([0.4])) == (0.5, 1.0)


def test_clipping_bounds_every_weight() -> None:
    network = build_discriminator("vgg", {"channels": 2, "norm": "none"}, size=(8, 9), in_channels=1)
    before = torch.cat([p.detach().flatten() for p in network.parameters()])
    clip_weights(network, 0.05)
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert before.abs().max() > 0.05
    torch.testing.assert_close(after, before.clamp(-0.05, 0.05))


def test_wgan_alone_clips() -> None:
    assert {name: game.weight_clip for name, game in ADVERSARIAL_LOSSES.items() if game.weight_clip} == {
        "wgan": 0.01
    }


class Linear(nn.Module):
    """A discriminator whose verdict is a dot product: its gradient is its weight everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Two logits a patch, whose mean is the dot product."""
        verdict = (x * self.weight).flatten(1).sum(1, keepdim=True)
        return [x, torch.cat([0.5 * verdict, 1.5 * verdict], 1)]


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_penalties_of_a_linear_discriminator_are_those_of_its_weight(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = Linear(torch.randn(2, *size))
    hr, sr = torch.randn(5, 2, *size), torch.randn(5, 2, *size)
    length = network.weight.detach().norm()
    torch.testing.assert_close(r1_penalty(network, hr, sr), length**2 / 2)
    torch.testing.assert_close(gradient_penalty(network, hr, sr), (length - 1) ** 2)


@pytest.mark.parametrize(("name", "slope"), [("r1", 1.0), ("gradient", 2.0)])
def test_penalty_moves_the_weights_of_a_linear_discriminator(name: str, slope: float) -> None:
    torch.manual_seed(0)
    network = Linear(torch.randn(1, 3, 4))
    x = torch.randn(2, 1, 3, 4)
    PENALTIES[name](network, x, -x).backward()
    weight, length = network.weight.detach(), network.weight.detach().norm()
    expected = weight if name == "r1" else slope * (length - 1) * weight / length
    torch.testing.assert_close(network.weight.grad, expected)


def test_gradient_penalty_looks_between_hr_and_sr() -> None:
    seen: list[Tensor] = []

    class Square(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            seen.append(x.detach())
            return [x.square().flatten(1).sum(1, keepdim=True)]

    hr, sr = torch.ones(6, 1, 2, 3), torch.full((6, 1, 2, 3), 3.0)
    torch.manual_seed(0)
    gradient_penalty(Square(), hr, sr)
    (x,) = seen
    assert ((x > 1) & (x < 3)).all()
    assert (x == x[:, :, :1, :1]).all()  # one place for a whole patch
    assert len(set(x[:, 0, 0, 0].tolist())) == 6  # and another for each


def test_penalties_are_finite_where_the_verdict_is_flat() -> None:
    network = Linear(torch.zeros(1, 3, 4))
    x = torch.ones(2, 1, 3, 4)
    for penalty in PENALTIES.values():
        penalty(network, x, x).backward()
    assert network.weight.grad is not None
    assert network.weight.grad.isfinite().all()


@pytest.mark.parametrize("size", [(16, 24), (8, 11, 9)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_penalties_reach_the_weights_of(architecture: str, norm: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build_discriminator(architecture, {"channels": 4, "norm": norm}, size=size, in_channels=2)
    hr, sr = torch.randn(2, 2, *size), torch.randn(2, 2, *size)
    for name, penalty in PENALTIES.items():
        if (name, norm) != ("gradient", "batch"):
            network.zero_grad()
            penalty(network, hr, sr).backward()
            slopes = [p.grad for p in network.parameters() if p.grad is not None and p.ndim > 1]
            assert len(slopes) == sum(p.ndim > 1 for p in network.parameters())
            assert all(slope.isfinite().all() and slope.abs().max() > 0 for slope in slopes)


@every_game
def test_game_is_learnt_on_real_patches(name: str, shared_data: Path) -> None:
    hr = real_patches(shared_data, (16, 12), bands=2, count=8)
    lr = nn.functional.avg_pool2d(hr, 2)
    torch.manual_seed(0)
    maker = nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )
    game = ADVERSARIAL_LOSSES[name]
    judge = build_discriminator("patch", {"channels": 8}, size=(16, 12), in_channels=2)
    makers, judges = torch.optim.Adam(maker.parameters(), 1e-4), torch.optim.Adam(judge.parameters(), 2e-3)
    history = []
    for _ in range(30):
        sr = maker(lr)
        loss = game.discriminator(judge(hr)[-1], judge(sr.detach())[-1])
        history.append(loss.item())
        if game.penalty:
            loss = loss + 10 * PENALTIES[game.penalty](judge, hr, sr.detach())
        judges.zero_grad()
        loss.backward()
        judges.step()
        clip_weights(judge, game.weight_clip)
        deceit = game.generator(judge(sr)[-1], judge(hr)[-1] if game.uses_hr else None)
        makers.zero_grad()
        deceit.backward()
        makers.step()
    scale = max(abs(history[0]), abs(history[-1]))
    assert history[-1] < history[0] - 0.1 * scale
    right = accuracy(game, judge(hr)[-1], judge(maker(lr))[-1])
    assert sum(right) / 2 > 0.6


@pytest.mark.parametrize(
    "function",
    [value for game in ADVERSARIAL_LOSSES.values() for value in (game.discriminator, game.generator)]
    + list(PENALTIES.values())
    + [clip_weights],
)
def test_game_names_its_paper(function: object) -> None:
    assert "References\n" in (function.__doc__ or "")
