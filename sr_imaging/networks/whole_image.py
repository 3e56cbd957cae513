"""Running a generator over one small image without tiles."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .contract import replicate

__all__ = ["upscale_image"]


def upscale_image(generator: Any, lr: Tensor, *, guide: Tensor | None = None) -> np.ndarray:
    """Return ``(C, *(n * scale))`` float32 of an image ``(1, C, *n)`` without halo, and its guide at HR.

    The generator is in evaluation mode, `lr` on its device. Borders are replicated, also to whole multiples
    where the generator needs them.
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
