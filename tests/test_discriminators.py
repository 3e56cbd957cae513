"""Discriminators: depth from the patch, verdicts, refusals."""

import pytest
import torch

from sr_imaging import ModelError
from sr_imaging.networks.discriminators import build_discriminator, patch_layers


@pytest.mark.parametrize("size", [(16, 24), (32, 32), (48, 64), (64, 96), (24, 20, 28)])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_patch_discriminator_gives_several_local_verdicts(size: tuple[int, ...], norm: str) -> None:
    network = build_discriminator("patch", {"channels": 4, "norm": norm}, size=size, in_channels=2)
    logits = network(torch.randn(2, 2, *size))[-1]
    assert logits.shape[:2] == (2, 1)
    assert all(4 <= side < n // 2 for side, n in zip(logits.shape[2:], size, strict=True))


def test_patch_layers_grow_with_the_patch() -> None:
    assert [patch_layers((n, n)) for n in (8, 16, 24, 48, 96, 512)] == [1, 1, 2, 3, 3, 3]


def test_verdicts_on_one_patch_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = build_discriminator("patch", {"channels": 4}, size=(32, 32), in_channels=1)
    both = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(network(both)[-1][:1], network(both[:1])[-1])


@pytest.mark.parametrize(
    ("name", "arguments", "size", "match"),
    [
        ("pach", {}, (32, 32), "unknown discriminator"),
        ("patch", {"chanels": 4}, (32, 32), "takes no 'chanels'"),
        ("patch", {"norm": "layer"}, (32, 32), "unknown norm"),
        ("patch", {}, (32, 6), "too small"),
    ],
)
def test_impossible_discriminator_is_refused(
    name: str, arguments: dict[str, object], size: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        build_discriminator(name, arguments, size=size, in_channels=1)
