"""Distance between the features that a given network sees in an estimate and in the truth.

The weights are a local safetensors file; nothing is downloaded and nothing is unpickled. A network trained on
photographs gives a perceptual loss, a classifier trained on one's own images a content loss.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from sr_imaging.errors import ConfigError, ModelError
from sr_imaging.losses.feature_networks import FEATURE_NETWORKS, Stages, Tensors
from sr_imaging.models.weights_file import read_tensors

__all__ = ["FEATURE_NETWORKS", "PerceptualLoss", "perceptual_loss"]


class PerceptualLoss(nn.Module):
    """Mean L1 distance between features of SR and HR; frozen, always in evaluation mode.

    Patches are given to the network as follows.

    - *Values*: shifted by the mean of each band of the HR patch and divided by the standard deviation of the
      whole HR patch, since networks are trained on images of mean 0 and deviation 1.
    - *Bands*: a network of 1 or 3 channels sees each band by itself, repeated to its channels, so that the
      order of bands does not matter; one of another number of channels sees all bands together.
    - *Axes*: a 2-D network sees the planes of a 3-D patch across each of its three axes.

    J. Johnson et al., "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016.
    C. Ledig et al., CVPR 2017, eq. 5 (features of VGG). X. Wang et al., "ESRGAN", ECCVW 2018, section 3.3
    (before the activation).
    """

    def __init__(self, stages: Stages, *, layers: Sequence[str], spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        last = max(list(stages).index(name) for name in layers)
        kept = list(stages.items())[: last + 1]
        self.stages = nn.ModuleDict(dict(kept)).eval().requires_grad_(False)
        self.layers = tuple(layers)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Stay in evaluation mode, whatever `mode` says."""
        return super().train(False)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Return the distance of ``(B, C, *n)`` patches, a scalar with a gradient to `sr`."""
        sr, hr = _standardise_by_hr(sr, hr)
        terms = []
        for seen, wanted in zip(self._shape_for_network(sr), self._shape_for_network(hr), strict=True):
            with torch.no_grad():
                targets = self._collect_features(wanted)
            terms += [l1_loss(a, b) for a, b in zip(self._collect_features(seen), targets, strict=True)]
        return torch.stack(terms).mean()

    def _collect_features(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of the layers."""
        out = {}
        for name, stage in self.stages.items():
            x = stage(x)
            out[name] = x
        return [out[name] for name in self.layers]

    def _shape_for_network(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the patches as the network takes them."""
        if self.in_channels in (1, 3):
            x = x.flatten(0, 1)[:, None].expand(-1, self.in_channels, *x.shape[2:])
        if x.ndim - 2 == self.spatial_dims:
            yield x
        else:
            for axis in (2, 3, 4):
                yield x.movedim(axis, 1).flatten(0, 1)


def _standardise_by_hr(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Return both, shifted and scaled by the HR patch."""
    sr, hr = sr.float(), hr.float()
    axes = tuple(range(2, hr.ndim))
    mean = hr.mean(axes, keepdim=True)
    deviation = hr.std((1, *axes), keepdim=True).clamp(min=1e-6)
    return (sr - mean) / deviation, (hr - mean) / deviation


def perceptual_loss(
    network: str,
    weights: str | os.PathLike[str],
    layers: Sequence[str] = (),
    *,
    size: Sequence[int],
    in_channels: int = 1,
) -> PerceptualLoss:
    """Return a loss on the features of a key of ``FEATURE_NETWORKS``, for HR patches of `size`.

    Layers are stages such as ``conv5_4`` (before its ReLU), ``relu2_2`` or ``pool3`` of a VGG, ``layer1`` of
    a ResNet, ``denseblock1`` of a DenseNet; by default the network's own choice. Raises `ConfigError` if the
    network or a layer is unknown, the file holds other weights, or the network cannot take such patches.
    """
    if network not in FEATURE_NETWORKS:
        raise ConfigError(f"unknown feature network {network!r}; use one of {', '.join(FEATURE_NETWORKS)}")
    facts = FEATURE_NETWORKS[network]
    module = _load_network(network, Path(weights))
    first = dict(module.named_parameters())[facts.first]
    stages = facts.stages(module)
    layers = tuple(layers) or facts.layers
    for name in layers:
        if name not in stages:
            raise ConfigError(f"{network} has no layer {name!r}; use one of {', '.join(stages)}")
    loss = PerceptualLoss(stages, layers=layers, spatial_dims=first.ndim - 2, in_channels=first.shape[1])
    _check_patches(loss, network, size, in_channels)
    return loss


def _load_network(network: str, path: Path) -> nn.Module:
    """Return the network of a weights file, after a look at every weight."""
    facts = FEATURE_NETWORKS[network]
    try:
        stored = read_tensors(path)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    weights = {key: value.float() for key, value in stored.items() if not key.startswith(facts.head)}
    if facts.first not in weights or weights[facts.first].ndim not in (4, 5):
        begin = ", ".join(repr(key) for key in list(stored)[:2]) or "nothing"
        raise ConfigError(
            f"{path} lacks the weight {facts.first!r} of {network}, it holds {begin}; "
            f"give the file of a {network}"
        )
    module = facts.build(weights)
    _check_weights(weights, module, network, path)
    module.load_state_dict(weights, strict=False)
    return module


def _check_weights(weights: Tensors, module: nn.Module, network: str, path: Path) -> None:
    """Raise at the first weight that the file lacks, has in another shape, or has in excess."""
    head = FEATURE_NETWORKS[network].head
    expected = {key: value for key, value in module.state_dict().items() if not key.startswith(head)}
    expected = {key: value for key, value in expected.items() if not key.endswith("num_batches_tracked")}
    for key, value in expected.items():
        if key not in weights:
            raise ConfigError(f"{path} lacks the weight {key!r} of {network}; give the file of a {network}")
        if weights[key].shape != value.shape:
            raise ConfigError(
                f"weight {key!r} of {path} has shape {tuple(weights[key].shape)}, that of {network} "
                f"{tuple(value.shape)}; give the file of a {network}"
            )
        if not weights[key].isfinite().all():
            raise ConfigError(f"weight {key!r} of {path} is not finite; copy the file again")
    for key in weights:
        if key not in expected and not key.endswith("num_batches_tracked"):
            raise ConfigError(f"{path} has a weight {key!r} that {network} lacks; name its network")


def _check_patches(loss: PerceptualLoss, network: str, size: Sequence[int], in_channels: int) -> None:
    """Raise unless the network takes such patches, tried on one of zeros."""
    if loss.spatial_dims > len(size):
        raise ConfigError(
            f"{network} works on {loss.spatial_dims} axes, the patches have {len(size)}; "
            "give a file with 2-D weights"
        )
    if loss.in_channels not in (1, 3, in_channels):
        raise ConfigError(
            f"{network} takes {loss.in_channels} channels, the patches have {in_channels} bands; "
            "give a file of as many channels, of 1 or of 3"
        )
    zeros = torch.zeros(1, in_channels, *size)
    try:
        distance = loss(zeros, zeros)
    except (RuntimeError, ValueError) as error:
        distance = torch.tensor(float("nan"))
        reason = str(error).splitlines()[0]
    else:
        reason = "nothing is left of them"
    if not distance.isfinite():
        raise ConfigError(
            f"patches of {tuple(size)} HR pixels are too small for the layers {', '.join(loss.layers)} of "
            f"{network} ({reason}); choose earlier layers or raise data.patch"
        )
