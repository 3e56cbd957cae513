"""Discriminators: shapes, gradients, norms, saving, refusals; each learns on real patches."""

from itertools import product
from pathlib import Path

import pytest
import torch
from helpers.real_patches import real_patches
from safetensors.torch import load_file, save_file
from torch import nn

from sr_imaging import ModelError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES
from sr_imaging.networks.discriminators.layers import NORMS
from sr_imaging.networks.discriminators.patch import patch_layers
from sr_imaging.networks.discriminators.registry import DISCRIMINATORS, build_discriminator

SIZES = [(8, 8), (17, 40), (96, 64), (8, 20, 11)]
every = pytest.mark.parametrize(("architecture", "norm"), list(product(DISCRIMINATORS, NORMS)))
every_size = pytest.mark.parametrize("size", SIZES)


def build(architecture: str, norm: str, size: tuple[int, ...], bands: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return build_discriminator(architecture, {"channels": 4, "norm": norm}, size=size, in_channels=bands)


def logits_shape(architecture: str, size: tuple[int, ...]) -> tuple[int, ...]:
    """One verdict for vgg and dcgan, one a pixel for unet, something between for patch."""
    if architecture == "patch":
        side = [n for n in size]
        for _ in range(patch_layers(size)):
            side = [n // 2 for n in side]
        return (2, 1, *(n - 2 for n in side))
    return (2, 1, *size) if architecture == "unet" else (2, 1)


@every_size
@every
def test_discriminator_gives_features_and_logits(architecture: str, norm: str, size: tuple[int, ...]) -> None:
    features = build(architecture, norm, size)(torch.randn(2, 2, *size))
    assert tuple(features[-1].shape) == logits_shape(architecture, size)
    assert len(features) >= 2
    assert all(len(x) == 2 and x.isfinite().all() for x in features)


@pytest.mark.parametrize("size", [(8, 20, 11), (24, 17)])
@every
def test_gradient_reaches_every_weight_and_the_patch(
    architecture: str, norm: str, size: tuple[int, ...]
) -> None:
    network = build(architecture, norm, size)
    x = torch.randn(2, 2, *size, requires_grad=True)
    (network(x)[-1] ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.abs().max() > 0 for p in network.parameters() if p.ndim > 1)  # type: ignore[union-attr]
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen.float().mean() > 0.7  # a short side may end between two strides


@every
def test_discriminator_is_saved_and_loaded_bit_by_bit(architecture: str, norm: str, tmp_path: Path) -> None:
    network = build(architecture, norm, (16, 24))
    x = torch.randn(2, 2, 16, 24)
    network(x)  # moves running means and the vectors of spectral norm
    save_file(network.state_dict(), tmp_path / "d.safetensors")
    torch.manual_seed(1)
    other = build_discriminator(architecture, {"channels": 4, "norm": norm}, size=(16, 24), in_channels=2)
    other.load_state_dict(load_file(tmp_path / "d.safetensors"))
    for mode in (False, True):
        torch.testing.assert_close(other.train(mode)(x)[-1], network.train(mode)(x)[-1], rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["none", "instance", "spectral"])
@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_verdicts_on_one_patch_do_not_depend_on_the_batch(architecture: str, norm: str) -> None:
    network = build(architecture, norm, (32, 24)).eval()
    both = torch.randn(2, 2, 32, 24)
    torch.testing.assert_close(network(both)[-1][:1], network(both[:1])[-1])


@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_spectral_norm_bounds_every_kernel_it_is_on(architecture: str) -> None:
    network = build(architecture, "spectral", (16, 24))
    for _ in range(30):  # power iterations
        network(torch.randn(1, 2, 16, 24))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    bound = [layer for layer in layers if hasattr(layer, "parametrizations")]
    norms = [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() for layer in bound]
    assert norms == pytest.approx([1.0] * len(norms), abs=0.02)  # a few dozen iterations
    assert len(layers) - len(bound) == (2 if architecture == "unet" else 0)  # the paper's first and last


@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d)])
@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_norm_is_never_on_the_image_itself(architecture: str, norm: str, layer: type[nn.Module]) -> None:
    network = build(architecture, norm, (32, 24))
    kinds = [type(m) for m in network.modules() if isinstance(m, nn.Conv2d | layer)]
    assert layer in kinds
    assert kinds[:2] == [nn.Conv2d, nn.Conv2d]


@pytest.mark.parametrize("size", [(16, 24), (8, 12, 9)])
@every
def test_discriminator_judges_in_half_the_bits(architecture: str, norm: str, size: tuple[int, ...]) -> None:
    network = build(architecture, norm, size).eval()
    x = torch.randn(2, 2, *size)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)[-1]
    logits.float().sum().backward()
    assert logits.dtype == torch.bfloat16
    expected = network(x)[-1].detach()
    torch.testing.assert_close(logits.float(), expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_patch_layers_grow_with_the_patch() -> None:
    assert [patch_layers((n, n)) for n in (8, 16, 24, 48, 96, 512)] == [1, 1, 2, 3, 3, 3]


def test_vgg_of_the_papers_patch_is_the_papers() -> None:
    network = build_discriminator("vgg", {"channels": 64}, size=(96, 96), in_channels=3)
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 256, 256, 512, 512]
    dense = [
        (layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)
    ]
    assert dense == [(512 * 6 * 6, 1024), (1024, 1)]


def test_dcgan_of_the_papers_patch_is_the_papers() -> None:
    network = build_discriminator("dcgan", {"channels": 128}, size=(64, 64), in_channels=3)
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convs] == [128, 256, 512, 1024]
    assert all(layer.stride == (2, 2) for layer in convs)


@pytest.mark.parametrize("architecture", ["vgg", "dcgan"])
def test_discriminator_of_one_size_refuses_another(architecture: str) -> None:
    with pytest.raises(ModelError, match=r"judges patches of \(32, 24\) HR pixels, not \(24, 32\)"):
        build(architecture, "none", (32, 24))(torch.zeros(1, 2, 24, 32))


@pytest.mark.parametrize(
    ("name", "arguments", "size", "match"),
    [
        ("pach", {}, (32, 32), "unknown discriminator 'pach'; use one of patch, vgg, unet, dcgan"),
        ("patch", {"chanels": 4}, (32, 32), "takes no argument 'chanels'; did you mean 'channels'"),
        *((name, {"norm": "layer"}, (32, 32), "unknown norm 'layer'") for name in DISCRIMINATORS),
        *((name, {}, (32, 6), r"too small for a \w+ .* holds it is \(32, 8\)") for name in DISCRIMINATORS),
        *((name, {}, (32,), "2 or 3 axes, not 1") for name in DISCRIMINATORS),
        ("unet", {"channels": "many"}, (32, 32), "'unet' cannot be built of"),
    ],
)
def test_impossible_discriminator_is_refused(
    name: str, arguments: dict[str, object], size: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        build_discriminator(name, arguments, size=size, in_channels=1)


@pytest.mark.parametrize("size", [(16, 12), (8, 12, 10)])
@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_discriminator_learns_to_tell_blurred_patches(
    architecture: str, size: tuple[int, ...], shared_data: Path
) -> None:
    hr = real_patches(shared_data, size, count=6)
    pool = nn.functional.avg_pool2d if len(size) == 2 else nn.functional.avg_pool3d
    sr = nn.functional.interpolate(pool(hr, 2), scale_factor=2)
    torch.manual_seed(0)
    network = build_discriminator(architecture, {"channels": 8}, size=size, in_channels=1)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    history = []
    for _ in range(25):
        of_hr, of_sr = network(torch.cat([hr, sr]))[-1].chunk(2)
        loss = ADVERSARIAL_LOSSES["vanilla"].discriminator(of_hr, of_sr)
        history.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert history[-1] < 0.8 * history[0]


@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_discriminator_names_its_paper(architecture: str) -> None:
    assert "References\n" in (DISCRIMINATORS[architecture].__doc__ or "")
