"""How much an image varies around each pixel: a unit of its own, without statistics of the whole.

A network that multiplies features, or takes a noise map or a second image, stays equivariant where it
measures them in this unit: the contrast of ``a * x + b`` is ``a`` times that of ``x``, and exactly 0 where
x is constant.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CONTRAST_REACH", "box_mean", "differences", "local_contrast", "precise", "ratio"]

CONTRAST_REACH = 2  # pixels on each side that the contrast of a pixel depends on


def local_contrast(x: Tensor) -> Tensor:
    """Return the mean absolute slope around each pixel of ``(B, C, *n)`` over bands, ``(B, 1, *(n - 4))``.

    It is a mean over 3 pixels along each axis, >= 0 in the unit of `x`; float32, or float64 where `x` is.
    """
    slope = differences(x).mean(1, keepdim=True)
    return box_mean(slope, CONTRAST_REACH - 1)


def differences(x: Tensor) -> Tensor:
    """Return half the absolute differences of each pixel's neighbours, mean over axes, ``(B, C, *(n - 2))``.

    Differences of equal numbers are exactly 0, whatever offset they have.
    """
    x = precise(x)
    dims = x.ndim - 2
    total = x.new_zeros(())
    for k in range(dims):
        inner = x
        for other in range(dims):
            if other != k:
                inner = inner.narrow(2 + other, 1, inner.shape[2 + other] - 2)
        size = inner.shape[2 + k] - 2
        total = total + (inner.narrow(2 + k, 2, size) - inner.narrow(2 + k, 0, size)).abs()
    return total / (2 * dims)


def box_mean(x: Tensor, reach: int) -> Tensor:
    """Return the mean of ``(B, C, *n)`` over `reach` pixels on each side, ``(B, C, *(n - 2 * reach))``."""
    dims = x.ndim - 2
    for k in range(dims):
        size = tuple(2 * reach + 1 if axis == k else 1 for axis in range(dims))
        x = functional.avg_pool2d(x, size, 1) if dims == 2 else functional.avg_pool3d(x, size, 1)
    return x


def ratio(x: Tensor, contrast: Tensor) -> Tensor:
    """Return ``x / contrast``, and 0 where the contrast is 0."""
    flat = contrast == 0
    return torch.where(flat, 0.0, x / torch.where(flat, 1.0, contrast))


def precise(x: Tensor) -> Tensor:
    """Return at least float32, for what autocast would round."""
    return x if x.dtype == torch.float64 else x.float()
