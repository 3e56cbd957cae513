"""Perceptual loss: features as the network gives them, weights that fit, patches as it takes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.resnet import resnet10
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from sr_imaging import ConfigError
from sr_imaging.losses.feature_networks import FEATURE_NETWORKS
from sr_imaging.training.perceptual import PerceptualLoss, perceptual_loss

# Of torchvision: the places of the convolutions in `features`, and their widths
CONVS = {
    "vgg11": (0, 3, 6, 8, 11, 13, 16, 18),
    "vgg13": (0, 2, 5, 7, 10, 12, 15, 17, 20, 22),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)  # of vgg11


def patches(size: tuple[int, ...], *, bands: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An estimate and a truth of mean 0 and deviation 1 in each patch."""
    rng = np.random.default_rng(seed)
    hr = torch.tensor(rng.standard_normal((2, bands, *size)), dtype=torch.float32)
    axes = tuple(range(2, hr.ndim))
    hr = hr - hr.mean(axes, keepdim=True)
    hr = hr / hr.std((1, *axes), keepdim=True)
    return hr + 0.3 * torch.tensor(rng.standard_normal(hr.shape), dtype=torch.float32), hr


def vgg11_weights(seed: int = 0) -> dict[str, Tensor]:
    """Random weights under torchvision's names, in half precision, with a bit of the classifier."""
    draw = torch.Generator().manual_seed(seed)
    weights, channels = {}, 3
    for place, width in zip(CONVS["vgg11"], WIDTHS, strict=True):
        gain = (2 / (9 * channels)) ** 0.5
        weights[f"features.{place}.weight"] = gain * torch.randn(width, channels, 3, 3, generator=draw)
        weights[f"features.{place}.bias"] = 0.1 * torch.randn(width, generator=draw)
        channels = width
    weights["classifier.6.bias"] = torch.zeros(7)
    return {key: value.half() for key, value in weights.items()}


@pytest.fixture(scope="module")
def vgg11(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg11.safetensors"
    save_file(vgg11_weights(), path)
    return path


@pytest.fixture(scope="module")
def medical(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[nn.Module, Path]]:
    """Classifiers of MONAI with random weights, and their files; made when asked for."""
    folder = tmp_path_factory.mktemp("medical")
    make: dict[str, Callable[[], nn.Module]] = {
        "resnet10": lambda: resnet10(spatial_dims=2, n_input_channels=1, num_classes=3),
        "resnet10-3d": lambda: resnet10(spatial_dims=3, n_input_channels=2, shortcut_type="A", num_classes=3),
        "densenet121": lambda: DenseNet121(spatial_dims=2, in_channels=1, out_channels=3),
    }

    def classifier(name: str) -> tuple[nn.Module, Path]:
        torch.manual_seed(1)
        module, path = make[name]().eval(), folder / f"{name}.safetensors"
        for key, value in module.state_dict().items():
            if "running" in key:
                value.copy_(torch.rand_like(value) + 0.5)
        save_file(module.state_dict(), path)
        return module, path

    return classifier


@pytest.mark.parametrize("name", CONVS)
def test_vgg_has_torchvisions_names_of_weights(name: str) -> None:
    with torch.device("meta"):
        module = FEATURE_NETWORKS[name].build({"features.0.weight": torch.zeros(64, 3, 3, 3)})
    places = {int(key.split(".")[1]) for key in module.state_dict()}
    assert places == set(CONVS[name])
    last = module.state_dict()[f"features.{CONVS[name][-1]}.weight"]
    assert last.shape == (512, 512, 3, 3)


def by_hand(weights: dict[str, Tensor], x: Tensor, last: int) -> Tensor:
    """Run VGG-11 up to its convolution number `last`, as the paper's table has it."""
    for number, place in enumerate(CONVS["vgg11"][: last + 1]):
        key = f"features.{place}"
        x = nn.functional.conv2d(
            x, weights[f"{key}.weight"].float(), weights[f"{key}.bias"].float(), padding=1
        )
        if number < last:
            x = x.relu()
            if number in (0, 1, 3, 5):
                x = nn.functional.max_pool2d(x, 2)
    return x


def test_vgg_features_are_those_before_the_relu(vgg11: Path) -> None:
    sr, hr = patches((20, 17))
    loss = perceptual_loss("vgg11", vgg11, ("conv3_1",), size=(20, 17))
    seen, wanted = (by_hand(vgg11_weights(), x.expand(-1, 3, -1, -1), 2) for x in (sr, hr))
    torch.testing.assert_close(loss(sr, hr), l1_loss(seen, wanted), rtol=1e-5, atol=0)


def test_layers_count_alike(vgg11: Path) -> None:
    sr, hr = patches((20, 17))
    both, one, other = (
        perceptual_loss("vgg11", vgg11, layers, size=(20, 17))(sr, hr)
        for layers in (("relu1_1", "pool3"), ("relu1_1",), ("pool3",))
    )
    torch.testing.assert_close(both, (one + other) / 2)
    assert not torch.isclose(one, other)


def test_every_band_is_seen_by_itself(vgg11: Path) -> None:
    sr, hr = patches((16, 19), bands=4)
    loss = perceptual_loss("vgg11", vgg11, ("relu2_1",), size=(16, 19), in_channels=4)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(loss(sr[:, order], hr[:, order]), loss(sr, hr))
    images = [loss.stages["conv1_1"](x.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)) for x in (sr, hr)]
    alone = perceptual_loss("vgg11", vgg11, ("conv1_1",), size=(16, 19), in_channels=4)
    torch.testing.assert_close(alone(sr, hr), l1_loss(*images), rtol=1e-4, atol=0)


def test_planes_of_a_volume_are_seen_across_each_axis(vgg11: Path) -> None:
    sr, hr = patches((6, 9, 7))
    loss = perceptual_loss("vgg11", vgg11, ("conv1_1",), size=(6, 9, 7))
    conv = loss.stages["conv1_1"]
    terms = []
    for axis in (2, 3, 4):
        planes = [torch.cat(x.unbind(axis))[:, :1].expand(-1, 3, -1, -1) for x in (sr, hr)]
        terms.append(l1_loss(conv(planes[0]), conv(planes[1])))
    torch.testing.assert_close(loss(sr, hr), torch.stack(terms).mean(), rtol=1e-4, atol=0)


def test_unit_of_the_patches_does_not_matter(vgg11: Path) -> None:
    sr, hr = patches((16, 19))
    loss = perceptual_loss("vgg11", vgg11, ("relu2_1",), size=(16, 19))
    torch.testing.assert_close(loss(250 * sr + 900, 250 * hr + 900), loss(sr, hr), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("name", "network", "layer", "bands", "size"),
    [
        ("resnet10", "resnet10", "layer2", 1, (24, 17)),
        ("resnet10-3d", "resnet10", "layer1", 2, (12, 9, 10)),
        ("densenet121", "densenet121", "denseblock1", 1, (40, 33)),
    ],
)
def test_classifier_features_are_those_of_monai(
    name: str, network: str, layer: str, bands: int, size: tuple[int, ...], medical: Any
) -> None:
    module, path = medical(name)
    sr, hr = patches(size, bands=bands)
    caught: list[Tensor] = []
    part = dict(module.named_modules())[layer if network == "resnet10" else f"features.{layer}"]
    part.register_forward_hook(lambda _module, _inputs, out: caught.append(out.clone()))
    with torch.no_grad():
        module(sr), module(hr)
    loss = perceptual_loss(network, path, (layer,), size=size, in_channels=bands)
    torch.testing.assert_close(loss(sr, hr), l1_loss(*caught), rtol=1e-4, atol=0)


@pytest.mark.parametrize("size", [(16, 19), (6, 9, 7)])
def test_loss_leads_the_estimate_to_the_truth(size: tuple[int, ...], vgg11: Path) -> None:
    sr, hr = patches(size)
    loss = perceptual_loss("vgg11", vgg11, ("relu1_1",), size=size)
    sr.requires_grad_()
    before = loss(sr, hr)
    before.backward()
    assert sr.grad is not None
    after = loss(sr.detach() - 0.05 * sr.grad / sr.grad.abs().max(), hr)
    assert loss(hr, hr) == 0 < after < before


def test_network_stays_as_it_was(vgg11: Path) -> None:
    loss = perceptual_loss("vgg11", vgg11, ("relu1_1",), size=(9, 8)).train()
    assert not any(module.training for module in loss.modules())
    assert not any(p.requires_grad for p in loss.parameters())
    assert set(loss.state_dict()) == {"stages.conv1_1.weight", "stages.conv1_1.bias"}  # no deeper than needed


def test_own_choice_of_layers_is_the_last_convolution(vgg11: Path) -> None:
    assert perceptual_loss("vgg11", vgg11, size=(32, 40)).layers == ("conv5_2",)


def damaged(name: str, tmp_path: Path) -> Path:
    """Write a file that is wrong in one way."""
    path = tmp_path / "other.safetensors"
    weights = vgg11_weights()
    if name == "pickled":
        path = tmp_path / "vgg11.pth"
        torch.save({"a": torch.zeros(1)}, path)
        return path
    if name == "text":
        path.write_text("not weights", encoding="utf-8")
        return path
    if name == "missing":
        del weights["features.8.bias"]
    elif name == "shape":
        weights["features.3.weight"] = weights["features.3.weight"][:, :32].clone()
    elif name == "more":
        weights["features.19.weight"] = torch.zeros(2)
    elif name == "foreign":
        weights = {"module.conv1.weight": torch.zeros(2)}
    elif name == "nan":
        weights["features.0.bias"][3] = float("nan")
    if name != "absent":
        save_file(weights, path)
    return path


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "pickled",
            r"pickled checkpoint.*save_file\(torch.load\('vgg11.pth', weights_only=True\), 'vgg11.safet",
        ),
        ("text", "not a complete safetensors file"),
        ("absent", "cannot be read"),
        ("missing", r"lacks the weight 'features\.8\.bias' of vgg11"),
        (
            "shape",
            r"'features\.3\.weight' of .* has shape \(128, 32, 3, 3\), that of vgg11 \(128, 64, 3, 3\)",
        ),
        ("more", r"has a weight 'features\.19\.weight' that vgg11 lacks"),
        ("foreign", r"lacks the weight 'features\.0\.weight' of vgg11, it holds 'module\.conv1\.weight'"),
        ("nan", r"'features\.0\.bias' of .* is not finite"),
    ],
)
def test_wrong_weights_file_is_refused(name: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=match):
        perceptual_loss("vgg11", damaged(name, tmp_path), ("conv1_1",), size=(16, 16))


@pytest.mark.parametrize(
    ("network", "layers", "size", "match"),
    [
        ("vgg12", (), (32, 32), "unknown feature network 'vgg12'; use one of vgg11"),
        ("vgg19", (), (32, 32), r"lacks the weight 'features\.2\.weight' of vgg19"),
        ("vgg11", ("conv6_1",), (32, 32), "vgg11 has no layer 'conv6_1'; use one of conv1_1"),
        ("vgg11", (), (32, 12), r"patches of \(32, 12\) HR pixels are too small for the layers conv5_2"),
    ],
)
def test_impossible_perceptual_loss_is_refused(
    network: str, layers: tuple[str, ...], size: tuple[int, ...], match: str, vgg11: Path
) -> None:
    with pytest.raises(ConfigError, match=match):
        perceptual_loss(network, vgg11, layers, size=size)


@pytest.mark.parametrize(
    ("size", "bands", "match"),
    [
        ((12, 12), 2, "works on 3 axes, the patches have 2"),
        ((9, 9, 9), 1, "2 channels, the patches have 1 bands"),
    ],
)
def test_patches_that_do_not_fit_a_classifier_are_refused(
    size: tuple[int, ...], bands: int, match: str, medical: Any
) -> None:
    with pytest.raises(ConfigError, match=match):
        perceptual_loss("resnet10", medical("resnet10-3d")[1], size=size, in_channels=bands)


def test_perceptual_loss_names_its_papers() -> None:
    assert "Johnson" in (PerceptualLoss.__doc__ or "")
