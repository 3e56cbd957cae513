"""Training losses on tensors: pixel terms, feature matching.

Every registry is a dict literal: to add a loss is to write a function and one line.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .adversarial import ADVERSARIAL_LOSSES, Adversarial

__all__ = ["ADVERSARIAL_LOSSES", "PIXEL_LOSSES", "Adversarial", "feature_matching", "ramp"]


def charbonnier(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean of ``sqrt(d ** 2 + 1e-6)``: L1 that is smooth at zero.

    References
    ----------
    P. Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging",
    ICIP 1994; W. Lai et al., CVPR 2017, eq. 2.
    """
    return torch.sqrt((sr - hr) ** 2 + 1e-6).mean()


# estimate and truth of one shape -> scalar
PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "charbonnier": charbonnier,
}


def feature_matching(sr: Sequence[Tensor], hr: Sequence[Tensor]) -> Tensor:
    """Return the mean L1 distance between the discriminator's feature maps of SR and HR.

    Parameters
    ----------
    sr, hr : sequence of (B, C, ...) Tensor
        Feature maps layer by layer; those of HR take no gradient.

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    T. Wang et al., "High-resolution image synthesis and semantic manipulation with conditional GANs", CVPR
    2018, eq. 4.
    """
    terms = [functional.l1_loss(s, h.detach()) for s, h in zip(sr, hr, strict=True)]
    return torch.stack(terms).mean()


def ramp(step: int, steps: int) -> float:
    """Return a weight that grows evenly from 0 at step 0 to 1 at `steps`.

    Examples
    --------
    >>> ramp(5, 10), ramp(50, 10), ramp(0, 0)
    (0.5, 1.0, 1.0)
    """
    return min(1.0, step / steps) if steps > 0 else 1.0
