"""Training of an unconditional generator: a game of noise against patches, with nothing but a loop."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from sr_imaging.errors import ModelError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES, accuracy, check_adversarial
from sr_imaging.losses.penalties import PENALTIES, clip_weights

__all__ = ["train_unconditional"]


def train_unconditional(
    generator: Any,
    discriminator: nn.Module,
    patches: Iterable[Tensor],
    *,
    loss: str = "vanilla",
    smooth: float = 0.0,
    penalty: str = "",
    penalty_weight: float = 10.0,
    rate: float = 2e-4,
) -> Iterator[dict[str, float]]:
    """Train a generator of `sr_imaging.networks.generators.dcgan`, one step for each batch of patches.

    The steps run while the result is iterated over; both networks change in place. Noise is drawn from
    torch's global generator.

    Parameters
    ----------
    generator : nn.Module
        From :func:`~sr_imaging.networks.generators.dcgan.build_unconditional`, on the device to train on.
    discriminator : nn.Module
        From :func:`~sr_imaging.networks.discriminators.registry.build_discriminator` for the same patches, on
        the same device.
    patches : iterable of (B, C, *size) Tensor
        Real patches of about zero mean and unit variance, such as ``hr`` of the batches of a training run.
    loss : str
        Key of ``ADVERSARIAL_LOSSES``.
    smooth : float
        What is taken from the label of real patches.
    penalty : str
        Key of ``PENALTIES``; that of the game by default.
    penalty_weight : float
        Its weight.
    rate : float
        Learning rate of both networks.

    Returns
    -------
    iterator of dict
        The numbers of each step: ``generator`` and ``discriminator``, the two losses; ``accuracy_real`` and
        ``accuracy_made``, the shares of right verdicts.

    Raises
    ------
    ConfigError
        If the game, the smoothing, the penalty and the norm of the discriminator do not go together; at once.
    ModelError
        If a loss is no longer finite.

    References
    ----------
    A. Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial
    networks", ICLR 2016, section 4 (Adam, 2e-4, 0.5).
    """
    check_adversarial(loss, smooth=smooth, penalty=penalty, discriminator=discriminator)
    game = ADVERSARIAL_LOSSES[loss]
    penalise = PENALTIES.get(penalty or game.penalty)
    betas = (0.5, 0.999)
    makers, judges = (Adam(network.parameters(), rate, betas) for network in (generator, discriminator))

    def step(real: Tensor) -> dict[str, float]:
        made = generator(torch.randn(len(real), generator.latent, device=real.device))
        of_real, of_made = discriminator(real)[-1], discriminator(made.detach())[-1]
        difference = game.discriminator(of_real, of_made, smooth=smooth)
        if penalise is not None:
            difference = difference + penalty_weight * penalise(discriminator, real, made.detach())
        right = accuracy(game, of_real, of_made)
        _descend(judges, difference)
        clip_weights(discriminator, game.weight_clip)
        discriminator.requires_grad_(False)
        deceit = game.generator(discriminator(made)[-1], discriminator(real)[-1] if game.uses_hr else None)
        _descend(makers, deceit)
        discriminator.requires_grad_(True)
        return {
            "generator": deceit.item(),
            "discriminator": difference.item(),
            "accuracy_real": right[0],
            "accuracy_made": right[1],
        }

    device = next(generator.parameters()).device
    for network in (generator, discriminator):
        network.train()
    return (step(real.to(device)) for real in patches)


def _descend(optimiser: Adam, loss: Tensor) -> None:
    """One step down, unless the loss has left the numbers."""
    if not bool(torch.isfinite(loss)):
        raise ModelError(f"the game diverged: a loss is {loss.item()}; lower the rate or add a penalty")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
