"""The networks of a training run and what trains them, built and checked before any scan is read."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Adam, Optimizer
from torch.utils.checkpoint import checkpoint

from sr_imaging.errors import ConfigError
from sr_imaging.losses.feature_networks import FEATURE_NETWORKS
from sr_imaging.losses.games import check_adversarial
from sr_imaging.losses.image_terms import PIXEL_LOSSES, check_losses
from sr_imaging.models.model_file import load_model
from sr_imaging.networks import build_generator
from sr_imaging.networks.discriminators.registry import DISCRIMINATORS, build_discriminator
from sr_imaging.training.config.phases import AdversarialConfig
from sr_imaging.training.config.run import TrainConfig
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.monitoring.stability import Watch

from .distributed import ALONE, Team

__all__ = ["Batch", "Learner", "build_learner", "fresh_generator", "recompute_blocks", "rehearse"]

Batch = Mapping[str, Tensor]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Learner:
    """The networks of a run and what trains them; they change in place."""

    config: TrainConfig
    device: torch.device
    generator: nn.Module
    discriminator: nn.Module | None  # None without an adversarial phase
    optimisers: dict[str, Optimizer]  # by name of the network, as the scalers
    scalers: dict[str, GradScaler]  # disabled but in fp16
    features: dict[str, nn.Module] = field(default_factory=dict)  # losses by name of their column
    team: Team = ALONE
    watch: Watch = field(default_factory=Watch)

    def parts(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Return the parts of a batch that are computed one after the other, on the device."""
        on_device = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        pieces = {key: value.chunk(self.config.loop.accumulate) for key, value in on_device.items()}
        return [dict(zip(pieces, values, strict=True)) for values in zip(*pieces.values(), strict=True)]

    def precision(self) -> torch.autocast:
        """Return the autocast to the precision of the settings."""
        dtype = _TYPES.get(self.config.loop.precision)
        return torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def generate(self, part: Batch) -> Tensor:
        """Return the super-resolved part, float32; a generator that takes noise gets noise of its own."""
        lr, guide = part["lr"], (part["guide"],) if "guide" in part else ()
        channels, noise = getattr(self.generator, "latent_channels", 0), {}
        if channels:
            noise["latent"] = self.team.draw(len(lr), channels, *lr.shape[2:], device=lr.device)
        with self.precision():
            sr: Tensor = self.generator(lr, *guide, **noise)
        return sr.float()


def fresh_generator(config: TrainConfig) -> Any:
    """Return the generator of a run, with the weights that it starts from.

    Raises `ConfigError` if it has nothing to train, or starts from a model of another architecture.
    """
    model = config.model
    generator = build_generator(model.architecture, model.arguments)
    if not any(p.requires_grad for p in generator.parameters()):
        raise ConfigError(f"{model.architecture!r} has nothing to train; choose a learned architecture")
    if model.start:
        try:
            generator.load_state_dict(load_model(model.start).state_dict())
        except RuntimeError as error:
            raise ConfigError(
                f"model.start {model.start!r} has other weights than model.architecture; use its architecture"
            ) from error
    return generator


def build_learner(
    config: TrainConfig, generator: nn.Module, *, plan: PatchPlan, device: torch.device, team: Team
) -> Learner:
    """Return what trains a generator, with a discriminator where there is an adversarial phase.

    Raises `ConfigError` if terms of the losses are unknown or do not fit together or the patches.
    """
    adversarial = config.adversarial
    _check_names(config)
    check_losses(config.pixel.terms, plan.in_channels, plan.target)
    players = {"generator": generator.to(device).train()}
    if adversarial.steps:
        players["discriminator"] = _build_matching_discriminator(adversarial, plan).to(device).train()
    for player in players.values():
        team.share(player)
    betas = {"generator": (0.9, 0.99), "discriminator": (0.5, 0.99)}
    optimisers: dict[str, Optimizer] = {
        name: Adam(player.parameters(), betas=betas[name]) for name, player in players.items()
    }
    fp16 = config.loop.precision == "fp16"
    return Learner(
        config=config,
        device=device,
        generator=generator,
        discriminator=players.get("discriminator"),
        optimisers=optimisers,
        scalers={name: GradScaler(device.type, enabled=fp16) for name in players},
        features=_build_feature_losses(config, plan, device),
        team=team,
    )


def _check_names(config: TrainConfig) -> None:
    """Raise where a name is unknown, also in a phase or a term that is left out."""
    for key, name, known in (
        ("pixel.loss", config.pixel.loss, PIXEL_LOSSES),
        ("adversarial.discriminator", config.adversarial.discriminator, DISCRIMINATORS),
        ("perceptual.network", config.perceptual.network, FEATURE_NETWORKS),
        ("content.network", config.content.network, FEATURE_NETWORKS),
    ):
        if name not in known:
            raise ConfigError(f"unknown {key} {name!r}; use one of {', '.join(known)}")
    check_adversarial(config.adversarial.loss, penalty=config.adversarial.penalty)


def rehearse(learner: Learner, batch: Batch) -> None:
    """Run both networks once, moving nothing, so that what cannot run fails before the first step.

    Raises `ConfigError` if a network cannot take the patches.
    """
    part = learner.parts(batch)[0]
    players = [player for player in (learner.generator, learner.discriminator) if player is not None]
    before = [{key: value.clone() for key, value in player.state_dict().items()} for player in players]
    name = "generator"
    try:
        with torch.no_grad():
            sr = learner.generate(part)
            if learner.discriminator is not None:
                name = "discriminator"
                with learner.precision():
                    learner.discriminator(torch.cat([part["hr"], sr]))
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        shape = "x".join(str(n) for n in part["hr"].shape)
        raise ConfigError(
            f"the {name} cannot learn from patches of {shape} ({error}); change its arguments or data.patch"
        ) from error
    finally:
        for player, state in zip(players, before, strict=True):
            player.load_state_dict(state)  # running statistics, too


def _build_matching_discriminator(adversarial: AdversarialConfig, plan: PatchPlan) -> nn.Module:
    """Return the discriminator for the patches of a plan, checked against its loss."""
    discriminator = build_discriminator(
        adversarial.discriminator, adversarial.arguments, size=plan.target, in_channels=plan.in_channels
    )
    check_adversarial(
        adversarial.loss,
        smooth=adversarial.label_smoothing,
        penalty=adversarial.penalty,
        discriminator=discriminator,
    )
    return discriminator


def _build_feature_losses(config: TrainConfig, plan: PatchPlan, device: torch.device) -> dict[str, nn.Module]:
    """Return the losses on features of given networks, by name."""
    losses: dict[str, nn.Module] = {}
    for name in ("perceptual", "content"):
        wanted = getattr(config, name)
        if wanted.weights and wanted.weight and config.adversarial.steps:
            from .perceptual import perceptual_loss

            loss = perceptual_loss(
                wanted.network, wanted.weights, wanted.layers, size=plan.target, in_channels=plan.in_channels
            )
            losses[name] = loss.to(device)
    return losses


def recompute_blocks(generator: nn.Module, architecture: str) -> None:
    """Let every block of a generator keep its input only and compute the rest again in the backward pass.

    A copy of the generator must be made before. After T. Chen et al., "Training deep nets with sublinear
    memory cost", 2016.
    """
    blocks: list[nn.Module] = []
    for chain in generator.modules():
        if isinstance(chain, nn.Sequential) and not any(chain in block.modules() for block in blocks):
            blocks += [block for block in chain if any(True for _ in block.children())]
    if not blocks:
        raise ConfigError(f"{architecture!r} has no blocks to compute again; set loop.recompute to false")
    for block in blocks:
        again = partial(_make_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=again)


def _make_contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the forward pass and of the recomputation of a block."""
    return nullcontext(), _freeze_norm_statistics(block)


@contextmanager
def _freeze_norm_statistics(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are, in training too."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count
