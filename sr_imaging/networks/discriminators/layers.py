"""Bricks of networks on patches: how far a patch is halved, a convolution with its norm."""

from collections.abc import Sequence

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from sr_imaging.errors import ModelError
from sr_imaging.networks.layers import BATCH_NORMS, CONVS

__all__ = ["MIN_PATCH", "NORMS", "SLOPE", "brick", "check_patch", "halved", "steps"]

NORMS = ("none", "batch", "instance", "spectral")
MIN_PATCH = 8  # HR pixels: a side that can be halved once and still has 4 pixels
_INSTANCE: dict[int, type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d]] = {
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
SLOPE = 0.2  # of LeakyReLU, as in all the papers cited here


def halved(size: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Return the grids of a patch that is halved up to `most` times, the patch itself first.

    A side is halved (and rounded down) only while 4 pixels are left of it: a thin patch stays as thick.

    >>> halved((96, 16), 4)
    [(96, 16), (48, 8), (24, 4), (12, 4), (6, 4)]
    >>> halved((8, 9), 4)
    [(8, 9), (4, 4)]
    """
    grids = [tuple(size)]
    for _ in range(most):
        grids.append(tuple(n // 2 if n >= MIN_PATCH else n for n in grids[-1]))
        if grids[-1] == grids[-2]:
            return grids[:-1]
    return grids


def steps(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    """Return the stride of each axis between two grids: 2 where it was halved, else 1."""
    return tuple(1 if a == b else 2 for a, b in zip(after, before, strict=True))


def brick(
    in_channels: int, out_channels: int, *, norm: str, stride: Sequence[int], kernel: int = 3
) -> nn.Sequential:
    """Return a convolution, its norm and LeakyReLU; spectral norm has no layer of its own.

    A side of n becomes n at stride 1, ``n // 2`` at stride 2 (n even or `kernel` 4). `kernel` is the side
    along the axes of stride 2; it is 3 along the others.
    """
    dims = len(stride)
    conv = CONVS[dims](
        in_channels,
        out_channels,
        tuple(kernel if s == 2 else 3 for s in stride),  # type: ignore[arg-type]
        stride=tuple(stride),  # type: ignore[arg-type]
        padding=1,
        bias=norm in ("none", "spectral"),  # the others take a constant off
    )
    layers: list[nn.Module] = [spectral_norm(conv) if norm == "spectral" else conv]
    if norm == "batch":
        layers.append(BATCH_NORMS[dims](out_channels))
    if norm == "instance":
        layers.append(_INSTANCE[dims](out_channels))
    return nn.Sequential(*layers, nn.LeakyReLU(SLOPE))


def check_patch(kind: str, size: Sequence[int], norm: str = "none") -> None:
    """Raise `ModelError` unless patches have 2 or 3 axes of at least 8 HR pixels, and the norm is known."""
    if len(size) not in CONVS:
        raise ModelError(
            f"a {kind} discriminator takes patches of 2 or 3 axes, not {len(size)}; give one side each"
        )
    if min(size) < MIN_PATCH:
        smallest = tuple(max(n, MIN_PATCH) for n in size)
        raise ModelError(
            f"a patch of {tuple(size)} HR pixels is too small for a {kind} discriminator; "
            f"the smallest that holds it is {smallest}, with at least {MIN_PATCH} HR pixels on each side"
        )
    if norm not in NORMS:
        raise ModelError(f"unknown norm {norm!r} of a discriminator; use one of {', '.join(NORMS)}")
