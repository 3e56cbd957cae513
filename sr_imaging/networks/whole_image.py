"""A generator over one small image, whole."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .contract import replicate

__all__ = ["upscale_image"]


def upscale_image(generator: Any, lr: Tensor, *, guide: Tensor | None = None) -> np.ndarray:
    """Super-resolve one small image whole.

    Parameters
    ----------
    generator : Generator
        In evaluation mode.
    lr : (1, C, *n) Tensor
        Image without halo, on the device of the generator; its border is replicated, also to whole multiples
        where the generator needs them.
    guide : (1, G, *(n * scale)) Tensor, optional
        Second input of a guided generator, treated alike.

    Returns
    -------
    (C, *(n * scale)) float32 ndarray
        On the CPU.
    """
    halo = generator.halo or (0,) * generator.spatial_dims
    multiple = getattr(generator, "multiple", 1)
    borders = [(width, width + -n % multiple) for width, n in zip(halo, lr.shape[2:], strict=True)]
    inputs = [replicate(lr, borders)]
    if guide is not None:
        wide = [(before * s, after * s) for (before, after), s in zip(borders, generator.scale, strict=True)]
        inputs.append(replicate(guide.to(lr.device), wide))
    with torch.inference_mode():
        sr: Tensor = generator(*inputs)
    own = tuple(slice(round(n * s)) for n, s in zip(lr.shape[2:], generator.scale, strict=True))
    return np.asarray(sr[0].float().cpu().numpy()[(slice(None), *own)])
