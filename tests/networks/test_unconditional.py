"""Unconditional generators: shapes, gradients, saving, refusals, and a game learnt on real patches."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.places import ROOT
from helpers.real_patches import real_patches
from safetensors.torch import load_file, save_file
from torch import Tensor

from sr_imaging import ConfigError, ModelError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES
from sr_imaging.networks.discriminators.registry import build_discriminator
from sr_imaging.networks.generators.dcgan import UNCONDITIONAL, build_unconditional
from sr_imaging.training.unconditional import train_unconditional

SIZES = [(8, 9), (17, 40), (64, 48), (8, 20, 11)]
every_size = pytest.mark.parametrize("size", SIZES)


def build(size: tuple[int, ...], *, bands: int = 2, seed: int = 0, **arguments: Any) -> Any:
    torch.manual_seed(seed)
    return build_unconditional(
        "dcgan", {"channels": 4, "latent": 6, **arguments}, size=size, out_channels=bands
    )


@every_size
def test_noise_becomes_a_patch_within_its_bound(size: tuple[int, ...]) -> None:
    generator = build(size, bound=0.01)
    made = generator(100 * torch.randn(3, 6))
    assert tuple(made.shape) == (3, 2, *size)
    assert 0.001 < made.abs().max() <= 0.01


@every_size
def test_every_pixel_follows_the_noise(size: tuple[int, ...]) -> None:
    generator = build(size).eval()
    made = generator(torch.randn(5, 6))
    assert (made.std(0) > 0).all()


@every_size
def test_gradient_reaches_every_weight(size: tuple[int, ...]) -> None:
    generator = build(size)
    (generator(torch.randn(3, 6)) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in generator.parameters())


def test_generator_of_the_papers_patch_is_the_papers() -> None:
    generator = build((64, 64), bands=3, channels=128, latent=100)
    assert generator.start == (1024, 4, 4)
    widths = [
        layer.out_channels for layer in generator.modules() if isinstance(layer, torch.nn.ConvTranspose2d)
    ]
    assert widths == [512, 256, 128, 3]


def test_generator_is_saved_and_loaded_bit_by_bit(tmp_path: Path) -> None:
    generator, noise = build((17, 40)), torch.randn(2, 6)
    generator(noise)  # moves the running means
    save_file(generator.state_dict(), tmp_path / "g.safetensors")
    other = build((17, 40), seed=1)
    other.load_state_dict(load_file(tmp_path / "g.safetensors"))
    torch.testing.assert_close(other.eval()(noise), generator.eval()(noise), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "arguments", "size", "match"),
    [
        ("gan", {}, (32, 32), "unknown unconditional generator 'gan'; use one of dcgan"),
        ("dcgan", {"norm": "none"}, (32, 32), "takes no argument 'norm'; it takes latent, channels, bound"),
        ("dcgan", {"latent": 0}, (32, 32), "latent 0 and bound 5 must be above 0"),
        ("dcgan", {}, (32, 7), r"too small .* holds it is \(32, 8\)"),
    ],
)
def test_impossible_generator_is_refused(
    name: str, arguments: dict[str, object], size: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        build_unconditional(name, arguments, size=size, out_channels=1)


def statistics(x: Tensor) -> Tensor:
    """Deviation of the pixels, and how much alike neighbours are along each axis."""
    alike = [
        (x.narrow(a, 1, x.shape[a] - 1) * x.narrow(a, 0, x.shape[a] - 1)).mean() for a in range(2, x.ndim)
    ]
    return torch.stack([x.std(), *alike]).detach()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(12, 16), (16, 8, 12)])
def test_made_patches_come_near_the_real_ones(size: tuple[int, ...], shared_data: Path) -> None:
    real = real_patches(shared_data, size, count=64)
    torch.manual_seed(0)
    generator = build_unconditional("dcgan", {"channels": 12, "latent": 8}, size=size, out_channels=1)
    discriminator = build_discriminator(
        "dcgan", {"channels": 8, "norm": "spectral"}, size=size, in_channels=1
    )
    noise = torch.randn(64, 8)
    distance = [float((statistics(generator(noise)) - statistics(real)).abs().max())]
    draws = (real[torch.randint(64, (16,))] for _ in range(160))
    rows = list(train_unconditional(generator, discriminator, draws, rate=2e-3))
    distance.append(float((statistics(generator(noise)) - statistics(real)).abs().max()))
    assert distance[0] > 0.8  # almost nothing is made yet
    assert distance[1] < 0.5 * distance[0]
    assert max(row["discriminator"] for row in rows) > 1.5 * min(row["discriminator"] for row in rows)
    assert generator(noise).std(0).mean() > 0.3  # not one patch for all noise


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_every_game_moves_both_networks(name: str) -> None:
    generator = build((8, 12))
    discriminator = build_discriminator(
        "dcgan", {"channels": 4, "norm": "instance"}, size=(8, 12), in_channels=2
    )
    before = [[p.detach().clone() for p in network.parameters()] for network in (generator, discriminator)]
    rows = list(train_unconditional(generator, discriminator, [torch.randn(4, 2, 8, 12)] * 2, loss=name))
    assert len(rows) == 2
    for old, network in zip(before, (generator, discriminator), strict=True):
        assert any(not torch.equal(a, b) for a, b in zip(old, network.parameters(), strict=True))
    assert all(p.requires_grad for p in discriminator.parameters())


def test_parts_that_do_not_go_together_are_refused_at_once() -> None:
    discriminator = build_discriminator("dcgan", {"channels": 4}, size=(16, 12), in_channels=2)
    with pytest.raises(ConfigError, match="does not work with batch norm"):
        train_unconditional(build((16, 12)), discriminator, [], loss="wgan-gp")


def test_game_that_diverges_stops() -> None:
    discriminator = build_discriminator("dcgan", {"channels": 4}, size=(8, 12), in_channels=2)
    steps = train_unconditional(build((8, 12)), discriminator, [torch.full((2, 2, 8, 12), float("nan"))])
    with pytest.raises(ModelError, match="the game diverged"):
        next(steps)


def test_recipe_of_the_documents_makes_patches() -> None:
    text = (ROOT / "docs/losses.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(recipe, "<docs/losses.md>", "exec"), names)
    assert tuple(names["made"].shape) == (5, 1, 24, 16)
    assert all(map(math.isfinite, names["latest"]))


def test_unconditional_generators_name_their_paper() -> None:
    assert all("References\n" in (make.__doc__ or "") for make in UNCONDITIONAL.values())
