"""Adversarial games on discriminator logits, both sides of each.

Every registry is a dict literal: to add a game is to write its two sides and one line.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from sr_imaging.errors import ConfigError

from .penalties import PENALTIES, refuse_batch_norm

__all__ = ["ADVERSARIAL_LOSSES", "Adversarial", "accuracy", "check_adversarial"]


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
    """Both sides of an adversarial game and what else the game asks for."""

    discriminator: DiscriminatorSide
    generator: GeneratorSide
    uses_hr: bool = False  # the generator's side needs the logits of HR; others take None
    labels: bool = False  # HR has a label that can be smoothed, one-sided (Salimans et al. 2016, section 3.4)
    boundary: float | None = 0.0  # logit above which a patch counts as HR; None: only differences count
    weight_clip: float = 0.0  # bound of the discriminator's weights after each of its steps; 0 does not clip
    penalty: str = ""  # key of PENALTIES that belongs to the game; empty for none
    saturates: bool = True  # a discriminator that is always right has little left to teach; not so a critic


def vanilla_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Return the cross-entropy with the labels ``1 - smooth`` and 0.

    References
    ----------
    I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, eq. 1. T. Salimans et al., "Improved
    techniques for training GANs", NeurIPS 2016, section 3.4 (labels).
    """
    return _mean_cross_entropy(hr, 1.0 - smooth) + softplus(sr).mean()


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
    """Return the loss that pushes HR above 1 and SR below -1, and leaves alone what is beyond.

    References
    ----------
    J. Lim and J. Ye, "Geometric GAN", arXiv 1705.02894, 2017, eq. 10.
    """
    _refuse_smoothing("hinge", smooth)
    return relu(1 - hr).mean() + relu(1 + sr).mean()


def wasserstein_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Return the negative distance of the means, of a critic that is kept Lipschitz by other means.

    References
    ----------
    M. Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017, eq. 2 and algorithm 1.
    """
    _refuse_smoothing("wgan", smooth)
    return sr.mean() - hr.mean()


def mean_generator(sr: Tensor, hr: Tensor | None = None) -> Tensor:
    """Return the loss that raises the logits of SR, in the hinge and the Wasserstein games.

    References
    ----------
    M. Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017, algorithm 1.
    """
    return -sr.mean()


def relativistic_discriminator(hr: Tensor, sr: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Return the loss that pushes HR above the average SR, and SR below the average HR.

    References
    ----------
    A. Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019, section 4.2. X. Wang et al.,
    "ESRGAN: enhanced super-resolution generative adversarial networks", ECCVW 2018, eq. 1.
    """
    return _mean_cross_entropy(hr - sr.mean(), 1.0 - smooth) + softplus(sr - hr.mean()).mean()


def relativistic_generator(sr: Tensor, hr: Tensor | None = None) -> Tensor:
    """Return the loss that pushes SR above the average HR, and HR below the average SR.

    References
    ----------
    A. Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019, section 4.2. X. Wang et al.,
    "ESRGAN: enhanced super-resolution generative adversarial networks", ECCVW 2018, eq. 2.
    """
    if hr is None:
        raise ConfigError("the relativistic game compares with HR; pass the logits of HR as well")
    return softplus(hr - sr.mean()).mean() + softplus(hr.mean() - sr).mean()


def _mean_cross_entropy(logits: Tensor, label: float) -> Tensor:
    """Return the mean cross-entropy of logits with one label."""
    return (label * softplus(-logits) + (1.0 - label) * softplus(logits)).mean()


def _refuse_smoothing(name: str, smooth: float) -> None:
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
    """Return the shares of right verdicts among logits of HR and of SR, in 0 to 1.

    The `boundary` of the game separates HR from SR; where it has none, a verdict is right that lies on its
    side of the other one's mean.

    >>> import torch
    >>> accuracy(ADVERSARIAL_LOSSES["hinge"], torch.tensor([1.0, -1.0]), torch.tensor([-3.0]))
    (0.5, 1.0)
    """
    low, high = (sr.mean(), hr.mean()) if game.boundary is None else (game.boundary, game.boundary)
    return (hr > low).float().mean().item(), (sr < high).float().mean().item()


def check_adversarial(
    loss: str, *, smooth: float = 0.0, penalty: str = "", discriminator: nn.Module | None = None
) -> None:
    """Raise `ConfigError` unless a game, its label smoothing, a further penalty and the discriminator fit."""
    if loss not in ADVERSARIAL_LOSSES:
        known = ", ".join(ADVERSARIAL_LOSSES)
        raise ConfigError(f"unknown adversarial.loss {loss!r}; use one of {known}")
    if penalty and penalty not in PENALTIES:
        raise ConfigError(f"unknown penalty {penalty!r}; use one of {', '.join(PENALTIES)}")
    game = ADVERSARIAL_LOSSES[loss]
    if not 0 <= smooth < 0.5:
        raise ConfigError(f"label smoothing {smooth:g} is not in 0 to below 0.5; give for example 0.1")
    if not game.labels:
        _refuse_smoothing(loss, smooth)
    if discriminator is not None and "gradient" in (penalty, game.penalty):
        refuse_batch_norm(discriminator)
