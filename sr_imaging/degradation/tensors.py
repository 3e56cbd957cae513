"""LR patches from HR patches: the operator of `degradation.arrays` as banded matrices on tensors."""

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from math import ceil, floor
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from torch import Tensor

from sr_imaging.errors import GridError
from sr_imaging.image.pixels.kernels import interpolation_weights

from .psf import BOX, Psf, margin, psf_kernel, psf_taps

__all__ = ["Degraded", "any_margin", "degrade_any", "degrade_batch"]

_CUBIC = 3  # LR pixels on each side of a place that the cubic between them sees, and a half
_ROUNDING = 4  # HR pixels: the cubic between those, and whole numbers


class Degraded(MapTransform):
    """Add the LR image of ``(C, *n)`` HR tensors: n is a whole multiple of the scale plus both margins.

    `psf` is one for all axes or one for each. The HR image loses the margin that only the point-spread
    function needs, so that both cover one area.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        scale: Sequence[int],
        psf: Psf | Sequence[Psf] = BOX,
        lr_key: str = "lr",
    ) -> None:
        super().__init__(keys)
        self.scale = tuple(scale)
        self.psfs = _spread_psf(psf, len(self.scale))
        self.lr_key = lr_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add LR and trim HR."""
        out = dict(data)
        for key in self.key_iterator(out):
            hr = torch.as_tensor(out[key]).as_subclass(Tensor)
            out[self.lr_key] = degrade_batch(hr[None], self.psfs, self.scale)[0]
            for axis, s in enumerate(self.scale):
                edge = margin(self.psfs[axis], s)
                hr = hr.narrow(1 + axis, edge, hr.shape[1 + axis] - 2 * edge)
            out[key] = hr
        return out


def degrade_batch(hr: Tensor, psf: Psf | Sequence[Psf], scale: Sequence[int]) -> Tensor:
    """Return (B, C, *n) of a batch (B, C, *(n * scale + 2 * margin)): the operator of ``sr_imaging.degrade``.

    `psf` is one for all axes or one for each. A GridError is raised for a size that is not a whole multiple
    of the scale plus the margins.
    """
    for axis, (one, s) in enumerate(zip(_spread_psf(psf, len(scale)), scale, strict=True)):
        if s == 1:
            continue
        size, rest = divmod(hr.shape[2 + axis] - 2 * margin(one, s), s)
        if rest or size < 1:
            raise GridError(
                f"{hr.shape[2 + axis]} HR pixels are not {s} times a whole number plus twice the margin of "
                f"{margin(one, s)}; crop them"
            )
        hr = _multiply_axis(hr, axis, _build_matrix(one, s, size))
    return hr


def any_margin(psf: Psf, scale: float) -> int:
    """Return the HR pixels on each side that suffice :func:`degrade_any` up to a factor."""
    return 0 if scale == 1 else margin(psf, ceil(scale)) + ceil(_CUBIC * scale) + _ROUNDING


def degrade_any(
    hr: Tensor, psf: Psf | Sequence[Psf], scale: Sequence[float], margins: Sequence[int]
) -> Tensor:
    """Return a batch (B, C, *(n + 2 * margins)) coarsened by real factors and interpolated back: (B, C, *n).

    The first LR pixel of an axis begins at the first pixel; `margins` are HR pixels on each side, at least
    :func:`any_margin`. Cubic interpolation of the LR image is the input of a generator for any factor.
    """
    for axis, (one, s, edge) in enumerate(zip(_spread_psf(psf, len(scale)), scale, margins, strict=True)):
        size = hr.shape[2 + axis] - 2 * edge
        if s == 1:
            hr = hr.narrow(2 + axis, edge, size)
        else:
            hr = _multiply_axis(hr, axis, _build_round_trip(one, s, size, edge))
    return hr


def _spread_psf(psf: Psf | Sequence[Psf], axes: int) -> tuple[Psf, ...]:
    """Return one point-spread function for each axis."""
    return (psf,) * axes if isinstance(psf, Psf) else tuple(psf)


def _multiply_axis(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply a spatial axis by a matrix."""
    if axis == x.ndim - 4:  # the last but one, as it lies
        return matrix.to(x.device) @ x
    return (x.movedim(2 + axis, -1) @ matrix.T.to(x.device)).movedim(-1, 2 + axis)


@lru_cache(maxsize=64)
def _build_matrix(psf: Psf, scale: int, size: int) -> Tensor:
    """Return the banded ``(size, size * scale + 2 * margin)`` matrix of one degraded axis."""
    kernel = psf_kernel(psf, scale)
    matrix = np.zeros((size, (size - 1) * scale + len(kernel)))
    rows = np.arange(size)[:, None]
    matrix[rows, rows * scale + np.arange(len(kernel))] = kernel
    return torch.from_numpy(matrix).float()


def _build_round_trip(psf: Psf, scale: float, size: int, edge: int) -> Tensor:
    """Return the matrix ``(size, size + 2 * edge)`` of one axis: down by a real factor, back by the cubic."""
    place = (np.arange(edge, edge + size) + 0.5) / scale - 0.5  # of HR pixels among the LR ones
    nearest = np.rint(place).astype(np.int64)
    back = interpolation_weights("cubic", place - nearest)
    radius = back.shape[1] // 2
    first, last = int(nearest[0]) - radius, floor(nearest[-1]) + radius
    index, weights = psf_taps(psf, scale, (np.arange(first, last + 1) + 0.5) * scale - 0.5)
    whole = size + 2 * edge
    down = np.zeros((len(index), whole))
    np.add.at(down, (np.arange(len(index))[:, None], np.clip(index, 0, whole - 1)), weights)
    up = np.zeros((size, len(index)))
    taps = (nearest - first)[:, None] + np.arange(-radius, radius + 1)
    np.add.at(up, (np.arange(size)[:, None], taps), back)
    return torch.from_numpy(up @ down).float()
