"""Networks whose features are compared by a perceptual loss: rebuilt from their weights, part by part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

__all__ = ["FEATURE_NETWORKS", "FeatureNetwork", "Stages", "Tensors"]

Tensors = Mapping[str, Tensor]
Stages = dict[str, nn.Module]  # what is run one after the other, by name


@dataclass(frozen=True)
class FeatureNetwork:
    """How a network is rebuilt from its weights and taken apart."""

    build: Callable[[Tensors], nn.Module]  # weights by key -> the network they belong to
    stages: Callable[[Any], Stages]  # the network -> its parts by name, in the order in which they run
    first: str  # key of the first weight, whose shape gives the axes and the channels
    head: str  # start of the keys of the classifier, which is not needed
    layers: tuple[str, ...]  # stages that are compared where none are named


class _VGG(nn.Module):
    """The convolutional part of a VGG under torchvision's names of weights, with stages by their usual names.

    `convs` are the convolutions of each of the five blocks; the shape of the first weight gives axes and
    channels (K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015, table 1).
    """

    def __init__(self, convs: Sequence[int], first: Tensor) -> None:
        super().__init__()
        three = first.ndim == 5
        make = nn.Conv3d if three else nn.Conv2d
        self.names: list[str] = []
        layers: list[nn.Module] = []
        channels = first.shape[1]
        for block, count in enumerate(convs, 1):
            width = min(64 * 2 ** (block - 1), 512)
            for number in range(1, count + 1):
                layers += [make(channels, width, 3, padding=1), nn.ReLU()]
                self.names += [f"conv{block}_{number}", f"relu{block}_{number}"]
                channels = width
            layers.append(nn.MaxPool3d(2) if three else nn.MaxPool2d(2))
            self.names.append(f"pool{block}")
        self.features = nn.Sequential(*layers)

    def stages(self) -> Stages:
        """Return the layers by name."""
        return dict(zip(self.names, self.features, strict=True))


def _describe_vgg(convs: Sequence[int]) -> FeatureNetwork:
    """Describe a VGG by the convolutions of its blocks; the last of them, before its ReLU, is compared."""
    first = "features.0.weight"
    last = (f"conv5_{convs[-1]}",)
    return FeatureNetwork(
        lambda weights: _VGG(convs, weights[first]), _VGG.stages, first, "classifier.", last
    )


def _build_resnet(name: str, weights: Tensors) -> nn.Module:
    """Build MONAI's ResNet (He et al. 2016) with the channels and the shortcuts that the weights show."""
    from monai.networks.nets import resnet

    first = weights["conv1.weight"]
    module: nn.Module = getattr(resnet, name)(
        spatial_dims=first.ndim - 2,
        n_input_channels=first.shape[1],
        shortcut_type="B" if any("downsample" in key for key in weights) else "A",
        bias_downsample=any(key.endswith("downsample.0.bias") for key in weights),
        feed_forward=False,
        act=("relu", {"inplace": False}),  # a stage must not change what the one before gave
    )
    return module


def _name_resnet_stages(module: nn.Module) -> Stages:
    """Return all that runs before the pooling of the whole image."""
    return dict(takewhile(lambda pair: pair[0] != "avgpool", module.named_children()))


def _describe_resnet(name: str) -> FeatureNetwork:
    """Describe one of MONAI's ResNets."""
    build = partial(_build_resnet, name)
    return FeatureNetwork(build, _name_resnet_stages, "conv1.weight", "fc.", ("layer1", "layer2"))


def _build_densenet(weights: Tensors) -> nn.Module:
    """Build MONAI's DenseNet-121 (Huang et al. 2017) with the channels that the weights show."""
    from monai.networks.nets.densenet import DenseNet121

    first = weights["features.conv0.weight"]
    module: nn.Module = DenseNet121(
        spatial_dims=first.ndim - 2,
        in_channels=first.shape[1],
        out_channels=1,
        act=("relu", {"inplace": False}),
    )
    return module


def _name_densenet_stages(module: Any) -> Stages:
    """Return the layers before the classifier."""
    return dict(module.features.named_children())


FEATURE_NETWORKS: dict[str, FeatureNetwork] = {
    "vgg11": _describe_vgg((1, 1, 2, 2, 2)),
    "vgg13": _describe_vgg((2, 2, 2, 2, 2)),
    "vgg16": _describe_vgg((2, 2, 3, 3, 3)),
    "vgg19": _describe_vgg((2, 2, 4, 4, 4)),
    "resnet10": _describe_resnet("resnet10"),
    "resnet18": _describe_resnet("resnet18"),
    "resnet50": _describe_resnet("resnet50"),
    "densenet121": FeatureNetwork(
        _build_densenet,
        _name_densenet_stages,
        "features.conv0.weight",
        "class_layers.",
        ("denseblock1", "denseblock2"),
    ),
}
