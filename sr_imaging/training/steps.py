"""One step of training: the generator towards the truth, or the two players against each other.

A batch may be computed in parts and shared among processes; gradients are averaged over all of them before a
network moves, so that the step is that of the whole batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from sr_imaging.errors import ConfigError, ModelError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES, Adversarial, accuracy
from sr_imaging.losses.image_terms import PIXEL_LOSSES, STRUCTURE_LOSSES, feature_matching
from sr_imaging.losses.penalties import PENALTIES, clip_weights

from .distributed import Team
from .learner import Batch, Learner
from .schedules import ramp, rate_at

__all__ = ["adversarial_step", "pixel_step", "update_average"]

Terms = dict[str, Tensor]  # scalars by name as they enter a loss


def pixel_step(learner: Learner, step: int, batches: Iterator[Batch]) -> dict[str, float]:
    """Move the generator towards the truth after `step` steps of the phase; return the row."""
    config = learner.config.pixel
    rate = rate_at(config.schedule, config.rate, step, config.steps)

    def terms(part: Batch) -> Terms:
        return _compute_image_terms(learner, learner.generate(part), part)

    row = _step_optimiser(learner, "generator", learner.parts(next(batches)), terms, rate)
    return {**row, "rate": learner.watch.factor("generator") * rate}


def adversarial_step(learner: Learner, step: int, batches: Iterator[Batch]) -> dict[str, float]:
    """Move the generator against a frozen discriminator, then the discriminator; return the row of the step.

    ``d_steps`` batches are taken; the generator sees the last of them.
    """
    config, discriminator = learner.config.adversarial, learner.discriminator
    if discriminator is None:
        raise ConfigError("an adversarial step needs a discriminator; set adversarial.steps above 0")
    duel = _Duel(learner, discriminator, ADVERSARIAL_LOSSES[config.loss], step)
    for _ in range(config.d_steps - 1):
        duel.teach(learner.parts(next(batches)), [])
    parts = learner.parts(next(batches))
    rate = rate_at(config.schedule, config.rate, step, config.steps)
    discriminator.requires_grad_(False)
    estimates: list[Tensor] = []
    row = _step_optimiser(learner, "generator", parts, lambda part: duel.terms(part, estimates), rate)
    discriminator.requires_grad_(True)
    row |= duel.teach(parts, estimates)
    return {
        **row,
        "diversity": _measure_diversity(learner.team, parts, estimates),
        "rate": learner.watch.factor("generator") * rate,
    }


@dataclass
class _Duel:
    """One step of the two players."""

    learner: Learner
    discriminator: nn.Module
    game: Adversarial
    step: int

    def terms(self, part: Batch, estimates: list[Tensor]) -> Terms:
        """Return the loss terms of the generator; its estimate is kept for the discriminator."""
        config, hr = self.learner.config.adversarial, part["hr"]
        sr = self.learner.generate(part)
        estimates.append(sr.detach())
        image = _compute_image_terms(self.learner, sr, part)
        terms = {key: config.pixel_weight * term for key, term in image.items()}
        seen = self.verdict(sr)
        compares = config.feature_weight > 0 or self.game.uses_hr
        wanted = self.verdict(hr) if compares else []
        weight = config.weight * ramp(self.step, config.ramp)
        sides = seen[-1].float(), wanted[-1].float() if compares else None
        if sides[1] is not None and self.game.uses_hr:
            sides = self.gather_pair(sides[0], sides[1])
        terms["adversarial"] = weight * self.game.generator(*sides)
        if config.feature_weight:
            terms["feature"] = config.feature_weight * feature_matching(seen[:-1], wanted[:-1])
        for name, loss in self.learner.features.items():
            with self.learner.precision():
                terms[name] = getattr(self.learner.config, name).weight * loss(sr, hr)
        return terms

    def teach(self, parts: Sequence[Batch], estimates: Sequence[Tensor]) -> dict[str, float]:
        """Move the discriminator and return its numbers; estimates that are not given are computed."""
        config, right = self.learner.config.adversarial, []
        rate = rate_at(config.schedule, config.discriminator_rate, self.step, config.steps)
        given = iter(estimates)

        def terms(part: Batch) -> Terms:
            hr, sr = part["hr"], next(given, None)
            if sr is None:
                with torch.no_grad():
                    sr = self.learner.generate(part)
            of_hr, of_sr = self.verdict(hr, sr)[-1].float().chunk(2)
            if self.game.boundary is None:  # a logit counts relative to the mean of the others
                of_hr, of_sr = self.gather_pair(of_hr, of_sr)
            right.append(accuracy(self.game, of_hr, of_sr))
            found = {"discriminator": self.game.discriminator(of_hr, of_sr, smooth=config.label_smoothing)}
            if penalty := config.penalty or self.game.penalty:
                places = self.learner.team.draw(len(hr), device=hr.device, normal=False)
                slope = PENALTIES[penalty](self.discriminator, hr, sr, places)
                found["penalty"] = config.penalty_weight * slope
            return found

        row = _step_optimiser(self.learner, "discriminator", parts, terms, rate)
        clip_weights(self.discriminator, self.game.weight_clip)
        hr, sr = (sum(side) / len(right) for side in zip(*right, strict=True))
        norm = {"discriminator_norm": row["gradient_norm"]} if "gradient_norm" in row else {}
        kept = {key: value for key, value in row.items() if key not in ("loss", "gradient_norm")}
        return {**kept, **norm, "accuracy_hr": hr, "accuracy_sr": sr}

    def verdict(self, *images: Tensor) -> list[Tensor]:
        """Return feature maps and logits of images in one batch, with instance noise while there is some."""
        config, team = self.learner.config.adversarial, self.learner.team
        strength = config.instance_noise * (1 - self.step / config.steps)
        if strength > 0:
            images = tuple(x + strength * team.draw(*x.shape, device=x.device) for x in images)
        with self.learner.precision():
            return list(self.discriminator(torch.cat(images)))

    def gather_pair(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return two sets of logits from all processes, in one message."""
        both = self.learner.team.gather(torch.stack([one, other], 1))
        return both[:, 0], both[:, 1]


def _compute_image_terms(learner: Learner, sr: Tensor, part: Batch) -> Terms:
    """Return the terms that compare an estimate with the truth, weighted as in the pixel phase."""
    config, hr = learner.config.pixel, part["hr"]
    terms = {"pixel": PIXEL_LOSSES[config.loss](sr, hr)}
    weighted = []
    for name, weight in config.terms.items():
        physical = name == "spectral_angle"  # the angle of whole spectra, not of differences from a mean
        images = [x * part["unit"] + part["offset"] for x in (sr, hr)] if physical else [sr, hr]
        weighted.append(weight * STRUCTURE_LOSSES[name](*images))
    if weighted:
        terms["structure"] = torch.stack(weighted).sum()
    divergence = getattr(learner.generator, "divergence", None)
    if divergence is not None:
        terms["divergence"] = config.divergence_weight * divergence
    return terms


def _measure_diversity(team: Team, parts: Sequence[Batch], estimates: Sequence[Tensor]) -> float:
    """Return how much all estimates differ from one another over how much the truths do; 1 for one patch."""
    sr, hr = torch.cat(list(estimates)), torch.cat([part["hr"] for part in parts])
    own, true = team.deviation(torch.stack([sr, hr], 1)).flatten(1).mean(1).tolist()
    return float(own / true) if true > 0 else 1.0


def _step_optimiser(
    learner: Learner,
    name: str,
    parts: Sequence[Batch],
    terms_of: Callable[[Batch], Terms],
    rate: float,
) -> dict[str, float]:
    """Take one optimiser step over all parts and processes, with clipped gradients; return its numbers."""
    optimiser, scaler = learner.optimisers[name], learner.scalers[name]
    rate *= learner.watch.factor(name)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    for part in parts:
        terms = terms_of(part)
        loss = torch.stack(list(terms.values())).sum()
        scaler.scale(loss / len(parts)).backward()  # type: ignore[no-untyped-call]
        for key, value in {"loss": loss, **terms}.items():
            sums[key] = sums.get(key, 0.0) + value.item() / len(parts)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    learner.team.average_gradients(parameters)
    scaler.unscale_(optimiser)
    norm = float(nn.utils.clip_grad_norm_(parameters, learner.config.loop.clip or float("inf")))
    sums = dict(zip(sums, learner.team.mean(list(sums.values())), strict=True))
    known = all(map(isfinite, sums.values()))
    overflow = scaler.is_enabled() and known and not isfinite(norm) and scaler.get_scale() >= 1
    if not (known and isfinite(norm)) and not overflow:
        raise ModelError(
            f"the {name} diverged: its loss is {sums['loss']:.3g} and its gradient {norm:.3g} at a rate of "
            f"{rate:.3g}; lower the rate or loop.clip and start anew"
        )
    scaler.step(optimiser)  # in fp16 a gradient that overflowed moves nothing and lowers the scale
    scaler.update()
    return {**sums, "overflow": 1.0} if overflow else {**sums, "gradient_norm": norm}


@torch.no_grad()
def update_average(mean: nn.Module, generator: nn.Module, *, decay: float, done: int) -> None:
    """Move the averaged generator `mean` towards the present one, faster while the phase is young."""
    decay = min(decay, (1 + done) / (10 + done))
    for old, new in zip(mean.state_dict().values(), generator.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)
