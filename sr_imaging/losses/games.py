"""Adversarial games on discriminator logits, and the penalties that keep a discriminator smooth.

Every registry is a dict literal: to add a game is to write its two sides and one line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from sr_imaging.errors import ConfigError

__all__ = [
    "ADVERSARIAL_LOSSES",
    "PENALTIES",
    "Adversarial",
    "accuracy",
    "check_adversarial",
    "clip_weights",
    "gradient_penalty",
    "r1_penalty",
]


class DiscriminatorSide(Protocol):
    """What the discriminator minimises."""

    def __call__(self, hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
        """Return a scalar of the logits of HR and of SR; HR is labelled ``1 - smooth``."""
        ...


class GeneratorSide(Protocol):
    """What the generator minimises."""

    def __call__(self, sr: Tensor, hr: Tensor | None = None) -> Tensor:
        """Return a scalar of the logits of SR and, where the game `uses_hr`, of HR."""
        ...


@dataclass(frozen=True)
class Adversarial:
    """Both sides of an adversarial game and what else the game asks for.

    Parameters
    ----------
    discriminator : callable
        ``(logits of HR, logits of SR, smooth=0.0) -> scalar`` that the discriminator minimises. `smooth` is
        taken from the label of HR (one-sided label smoothing, Salimans et al. 2016, section 3.4).
    generator : callable
        ``(logits of SR, logits of HR) -> scalar`` that the generator minimises.
    uses_hr : bool
        Whether the generator's side needs the logits of HR; others take None.
    labels : bool
        Whether HR has a label that can be smoothed.
    boundary : float or None
        Logit above which a patch is taken for HR; None where only differences of logits mean something.
    weight_clip : float
        Bound that the weights of the discriminator are clipped to after each of its steps; 0 does not clip.
    penalty : str
        Key of ``PENALTIES`` that the game is not itself without; empty for none.
    saturates : bool
        Whether a discriminator that is always right has little left to teach; a Wasserstein critic is meant
        to come close to it.
    """

    discriminator: DiscriminatorSide
    generator: GeneratorSide
    uses_hr: bool = False
    labels: bool = False
    boundary: float | None = 0.0
    weight_clip: float = 0.0
    penalty: str = ""
    saturates: bool = True


def vanilla_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Return the cross-entropy with the labels ``1 - smooth`` and 0.

    References
    ----------
    I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, eq. 1. T. Salimans et al., "Improved
    techniques for training GANs", NeurIPS 2016, section 3.4 (labels).
    """
    return _towards(hr, 1.0 - smooth) + softplus(sr).mean()


def vanilla_generator(sr: Tensor, hr: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of SR with the label 1, which does not saturate.

    References
    ----------
    I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, section 3.
    """
    return softplus(-sr).mean()


def least_squares_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Return the squared distances to the labels ``1 - smooth`` and 0.

    References
    ----------
    X. Mao et al., "Least squares generative adversarial networks", ICCV 2017, eq. 9.
    """
    return ((hr - (1.0 - smooth)) ** 2).mean() + (sr**2).mean()


def least_squares_generator(sr: Tensor, hr: Tensor | None = None) -> Tensor:
    """Return the squared distance of SR to the label 1.

    References
    ----------
    X. Mao et al., "Least squares generative adversarial networks", ICCV 2017, eq. 9.
    """
    return ((sr - 1) ** 2).mean()


def hinge_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Push HR above 1 and SR below -1, and leave alone what is beyond.

    References
    ----------
    J. Lim and J. Ye, "Geometric GAN", arXiv 1705.02894, 2017, eq. 10.
    """
    _no_labels("hinge", smooth)
    return relu(1 - hr).mean() + relu(1 + sr).mean()


def wasserstein_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Return the negative distance of the means, of a critic that is kept Lipschitz by other means.

    References
    ----------
    M. Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017, eq. 2 and algorithm 1.
    """
    _no_labels("wgan", smooth)
    return sr.mean() - hr.mean()


def mean_generator(sr: Tensor, hr: Tensor | None = None) -> Tensor:
    """Raise the logits of SR: the generator's side of the hinge and the Wasserstein games.

    References
    ----------
    M. Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017, algorithm 1.
    """
    return -sr.mean()


def relativistic_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Push HR above the average SR, and SR below the average HR.

    References
    ----------
    A. Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019, section 4.2. X. Wang et al.,
    "ESRGAN: enhanced super-resolution generative adversarial networks", ECCVW 2018, eq. 1.
    """
    return _towards(hr - sr.mean(), 1.0 - smooth) + softplus(sr - hr.mean()).mean()


def relativistic_generator(sr: Tensor, hr: Tensor | None = None) -> Tensor:
    """Push SR above the average HR, and HR below the average SR.

    References
    ----------
    A. Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019, section 4.2. X. Wang et al.,
    "ESRGAN: enhanced super-resolution generative adversarial networks", ECCVW 2018, eq. 2.
    """
    if hr is None:
        raise ConfigError("the relativistic game compares with HR; pass the logits of HR as well")
    return softplus(hr - sr.mean()).mean() + softplus(hr.mean() - sr).mean()


def _towards(logits: Tensor, label: float) -> Tensor:
    """Cross-entropy of logits with one label."""
    return (label * softplus(-logits) + (1.0 - label) * softplus(logits)).mean()


def _no_labels(name: str, smooth: float) -> None:
    """Raise where a game without labels is asked to smooth them."""
    if smooth:
        with_labels = [key for key, game in ADVERSARIAL_LOSSES.items() if game.labels]
        raise ConfigError(
            f"the {name} game has no label that could be smoothed by {smooth:g}; "
            f"set it to 0 or use one of {', '.join(with_labels)}"
        )


ADVERSARIAL_LOSSES: dict[str, Adversarial] = {
    "hinge": Adversarial(hinge_discriminator, mean_generator),
    "vanilla": Adversarial(vanilla_discriminator, vanilla_generator, labels=True),
    "lsgan": Adversarial(least_squares_discriminator, least_squares_generator, labels=True, boundary=0.5),
    "wgan": Adversarial(
        wasserstein_discriminator, mean_generator, boundary=None, weight_clip=0.01, saturates=False
    ),
    "wgan-gp": Adversarial(
        wasserstein_discriminator, mean_generator, boundary=None, penalty="gradient", saturates=False
    ),
    "relativistic": Adversarial(
        relativistic_discriminator, relativistic_generator, uses_hr=True, labels=True, boundary=None
    ),
}


def accuracy(game: Adversarial, hr: Tensor, sr: Tensor) -> tuple[float, float]:
    """Return the shares of HR and of SR verdicts that are right.

    Parameters
    ----------
    game : Adversarial
        Its `boundary` parts HR from SR; where it has none, a verdict is right that lies on its side of the
        other one's mean.
    hr, sr : Tensor
        Logits.

    Returns
    -------
    (float, float)
        In 0 to 1.

    Examples
    --------
    >>> accuracy(ADVERSARIAL_LOSSES["hinge"], torch.tensor([1.0, -1.0]), torch.tensor([-3.0]))
    (0.5, 1.0)
    """
    low, high = (sr.mean(), hr.mean()) if game.boundary is None else (game.boundary, game.boundary)
    return (hr > low).float().mean().item(), (sr < high).float().mean().item()


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

    Parameters
    ----------
    discriminator : nn.Module
        Returns a list of feature maps, the logits last.
    hr, sr : (B, C, *n) Tensor
        Patches; `sr` is not looked at.
    places : Tensor, optional
        Not looked at.

    Returns
    -------
    Tensor
        Scalar with a gradient to the weights of the discriminator; float32 whatever precision is in force.

    References
    ----------
    L. Mescheder et al., "Which training methods for GANs do actually converge?", ICML 2018, eq. 9.
    """
    return _slope(discriminator, hr).square().sum(1).mean() / 2


def gradient_penalty(
    discriminator: nn.Module, hr: Tensor, sr: Tensor, places: Tensor | None = None
) -> Tensor:
    """Return how far the gradient of the verdict is from length 1, between HR and SR.

    No batch norm: the gradient of one verdict would be that of the whole batch (section 4 of the paper).

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

    Raises
    ------
    ConfigError
        If the discriminator normalises by batch statistics.

    References
    ----------
    I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, eq. 3.
    """
    _no_batch_norm(discriminator)
    places = torch.rand(len(hr), device=hr.device) if places is None else places
    share = places.view(-1, *[1] * (hr.ndim - 1))
    between = share * hr.float() + (1 - share) * sr.float()
    length: Tensor = torch.linalg.vector_norm(_slope(discriminator, between), dim=1)
    return ((length - 1) ** 2).mean()


def _no_batch_norm(discriminator: nn.Module) -> None:
    """Raise where a norm mixes the patches of a batch."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if any(isinstance(layer, norms) for layer in discriminator.modules()):
        raise ConfigError(
            "the gradient penalty does not work with batch norm, which mixes the patches of a batch; "
            "use norm 'instance', 'spectral' or 'none'"
        )


def _slope(discriminator: nn.Module, x: Tensor) -> Tensor:
    """Gradient of each patch's mean logit with respect to the patch, ``(B, pixels)``, differentiable."""
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


def check_adversarial(
    loss: str, *, smooth: float = 0.0, penalty: str = "", discriminator: nn.Module | None = None
) -> None:
    """Raise unless a game, its label smoothing, its penalty and the discriminator go together.

    Parameters
    ----------
    loss : str
        Key of ``ADVERSARIAL_LOSSES``.
    smooth : float
        What is taken from the label of HR, 0 to below 0.5.
    penalty : str
        Key of ``PENALTIES`` that is asked for beside the game's own; empty for none.
    discriminator : nn.Module, optional
        Looked through for batch norm where there is a gradient penalty.

    Raises
    ------
    ConfigError
        Naming what does not fit.
    """
    if loss not in ADVERSARIAL_LOSSES:
        known = ", ".join(ADVERSARIAL_LOSSES)
        raise ConfigError(f"unknown adversarial.loss {loss!r}; use one of {known}")
    if penalty and penalty not in PENALTIES:
        raise ConfigError(f"unknown penalty {penalty!r}; use one of {', '.join(PENALTIES)}")
    game = ADVERSARIAL_LOSSES[loss]
    if not 0 <= smooth < 0.5:
        raise ConfigError(f"label smoothing {smooth:g} is not in 0 to below 0.5; give for example 0.1")
    if not game.labels:
        _no_labels(loss, smooth)
    if discriminator is not None and "gradient" in (penalty, game.penalty):
        _no_batch_norm(discriminator)
