"""Penalties that keep a discriminator's slope in bounds."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sr_imaging.errors import ConfigError

__all__ = ["PENALTIES", "clip_weights", "gradient_penalty", "r1_penalty"]


@torch.no_grad()
def clip_weights(discriminator: nn.Module, limit: float) -> None:
    """Clip every weight to plus and minus `limit`, in place; 0 leaves them alone.

    References
    ----------
    M. Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017, algorithm 1.
    """
    if limit:
        for weight in discriminator.parameters():
            weight.clamp_(-limit, limit)


def r1_penalty(discriminator: nn.Module, hr: Tensor, sr: Tensor, places: Tensor | None = None) -> Tensor:
    """Return half the squared gradient of the verdict at HR: its weight is the paper's gamma.

    The verdict of a patch is the mean of its logits, so the penalty does not grow with their number.
    Arguments and result are those of :func:`gradient_penalty`; `sr` and `places` are not used.

    References
    ----------
    L. Mescheder et al., "Which training methods for GANs do actually converge?", ICML 2018, eq. 9.
    """
    return _differentiate_verdict(discriminator, hr).square().sum(1).mean() / 2


def gradient_penalty(
    discriminator: nn.Module, hr: Tensor, sr: Tensor, places: Tensor | None = None
) -> Tensor:
    """Return how far the gradient of the verdict is from length 1, between HR and SR.

    Batch norm is refused: the gradient of one verdict would be that of the whole batch (section 4).

    Parameters
    ----------
    discriminator : nn.Module
        Returns a list of feature maps, the logits last.
    hr, sr : (B, C, *n) Tensor
        Patches of one shape.
    places : (B,) Tensor, optional
        Where to look, from SR at 0 to HR at 1; drawn from torch's global generator where not given.

    Returns
    -------
    Tensor
        Scalar with a gradient to the weights of the discriminator; float32 whatever precision is in force.

    References
    ----------
    I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, eq. 3.
    """
    refuse_batch_norm(discriminator)
    places = torch.rand(len(hr), device=hr.device) if places is None else places
    share = places.view(-1, *[1] * (hr.ndim - 1))
    between = share * hr.float() + (1 - share) * sr.float()
    length: Tensor = torch.linalg.vector_norm(_differentiate_verdict(discriminator, between), dim=1)
    return ((length - 1) ** 2).mean()


def refuse_batch_norm(discriminator: nn.Module) -> None:
    """Raise `ConfigError` where a norm mixes the patches of a batch."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if any(isinstance(layer, norms) for layer in discriminator.modules()):
        raise ConfigError(
            "the gradient penalty does not work with batch norm, which mixes the patches of a batch; "
            "use norm 'instance', 'spectral' or 'none'"
        )


def _differentiate_verdict(discriminator: nn.Module, x: Tensor) -> Tensor:
    """Return the gradient of each patch's mean logit with respect to the patch, ``(B, pixels)``."""
    x = x.detach().float().requires_grad_()
    with torch.autocast(x.device.type, enabled=False):
        logits: Tensor = discriminator(x)[-1]
    (slope,) = torch.autograd.grad(logits.flatten(1).mean(1).sum(), x, create_graph=True)
    return slope.flatten(1)


# discriminator, HR and SR patches, places between them or None -> scalar
PENALTIES: dict[str, Callable[..., Tensor]] = {
    "r1": r1_penalty,
    "gradient": gradient_penalty,
}
