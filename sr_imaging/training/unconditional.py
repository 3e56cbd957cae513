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
    """Train a generator of `sr_imaging.networks.generators.dcgan`, one step for each batch of real patches.

    Both networks change in place, on the device they are on, while the result is iterated over. It yields the
    two losses, ``generator`` and ``discriminator``, and the shares of right verdicts, ``accuracy_real`` and
    ``accuracy_made``. Patches ``(B, C, *size)`` have about zero mean and unit variance; noise is drawn from
    torch's global generator. Adam with 2e-4 and 0.5 after A. Radford et al., ICLR 2016, section 4.
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
        _step_optimiser(judges, difference)
        clip_weights(discriminator, game.weight_clip)
        discriminator.requires_grad_(False)
        deceit = game.generator(discriminator(made)[-1], discriminator(real)[-1] if game.uses_hr else None)
        _step_optimiser(makers, deceit)
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


def _step_optimiser(optimiser: Adam, loss: Tensor) -> None:
    """Take one optimiser step; raise `ModelError` if the loss is no longer finite."""
    if not bool(torch.isfinite(loss)):
        raise ModelError(f"the game diverged: a loss is {loss.item()}; lower the rate or add a penalty")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
