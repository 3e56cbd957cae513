"""The training loop: pixel phase, adversarial phase, averaged weights, validation, exact resume."""

import os
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from .checkpoint import check_new, load_checkpoint, save_checkpoint
from .config import TrainConfig, read_config
from .engine import pick_device
from .errors import CancelledError, ConfigError, ModelError
from .losses import ADVERSARIAL_LOSSES, PIXEL_LOSSES, feature_matching, ramp
from .model_file import load_model, save_model
from .networks import build_generator
from .networks.discriminators import build_discriminator
from .patches import PatchBatches, PatchPlan, cached_scans, find_training_scans, patch_batches
from .runcard import run_card
from .runlog import RunLog, announce
from .validation import HeldOut, held_out_images, judge

__all__ = ["train"]

LOG_EVERY = 10  # steps between rows of the log
CHECKPOINT, LOG = ".checkpoint.safetensors", ".csv"  # endings of the files beside the models
OnStep = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Run:
    """Everything that a step needs; networks and optimisers change in place."""

    config: TrainConfig
    device: torch.device
    plan: PatchPlan
    batches: PatchBatches
    images: list[HeldOut]
    generator: nn.Module
    average: nn.Module
    discriminator: nn.Module | None
    optimisers: dict[str, Optimizer]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All networks by name."""
        both = {"generator": self.generator, "average": self.average}
        return both if self.discriminator is None else {**both, "discriminator": self.discriminator}

    def path(self, ending: str) -> Path:
        """Return a file of the run."""
        return _path(self.config, ending)


@dataclass(frozen=True)
class Phase:
    """A stretch of steps ``start`` to ``stop`` and what each of them does."""

    name: str
    start: int
    stop: int
    step: Callable[[Run, int, Mapping[str, Tensor]], dict[str, float]]
    ending: str  # of the model file


def train(
    config: TrainConfig | str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
    on_step: OnStep | None = None,
) -> Path:
    """Train a super-resolution model.

    Writes into ``config.output``: ``NAME.safetensors`` after the pixel phase, ``NAME-gan.safetensors`` after
    the adversarial phase, the log ``NAME.csv`` and the checkpoint ``NAME.checkpoint.safetensors``.

    Parameters
    ----------
    config : TrainConfig or path
        The run, or a TOML file that describes it.
    data_root : path, optional
        Folder that the paths of the scans start from, instead of ``config.data.root``.
    resume : bool
        Continue from the checkpoint of the run; on the CPU the result is that of an unbroken run, bit by bit.
    overwrite : bool
        Start anew over the files of an earlier run of this name: its checkpoint is removed once the scans are
        read, the others are replaced as the new ones are written.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, … .
    progress : bool
        Show a progress bar.
    on_step : callable, optional
        Called after each step with its numbers by name of the log's columns. If it raises `CancelledError`,
        a checkpoint is written and the run ends.

    Returns
    -------
    Path
        The last model file that was written.

    Raises
    ------
    ConfigError
        If a setting is impossible or the scans do not fit it; before the first step. If an earlier run left
        files, without `resume` and `overwrite`; before any scan is read.
    ModelError
        If the loss is no longer finite; the last checkpoint is kept.
    CancelledError
        As raised by `on_step`.
    """
    config = config if isinstance(config, TrainConfig) else read_config(config)
    if resume and overwrite:
        raise ConfigError("resume and overwrite are both True; pass one of them")
    if not (resume or overwrite):
        endings = (CHECKPOINT, LOG, *(phase.ending for phase in _phases(config)))
        check_new(_path(config, ending) for ending in endings)
    root = Path(data_root if data_root is not None else config.data.root)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        run = _prepare(config, root, torch.device(pick_device(device)))
        checkpoint = run.path(CHECKPOINT)
        step = 0
        if overwrite:
            checkpoint.unlink(missing_ok=True)  # or a later resume could go on with the earlier run
        if resume:
            step = load_checkpoint(checkpoint, config=config, modules=run.modules, optimisers=run.optimisers)
        phases = _phases(config)
        saved = run.path(phases[0].ending)
        with RunLog(run.path(LOG), step=step, steps=phases[-1].stop, progress=progress) as log:
            for phase in phases:
                if step < phase.stop:
                    _run_phase(run, phase, step, log, on_step)
                    step = phase.stop
                saved = run.path(phase.ending)
    return saved


def _path(config: TrainConfig, ending: str) -> Path:
    """Return a file of a run."""
    return Path(config.output) / f"{config.name}{ending}"


def _phases(config: TrainConfig) -> list[Phase]:
    """Return the phases that have steps."""
    pixel, adversarial = config.pixel.steps, config.adversarial.steps
    phases = [
        Phase("pixel", 0, pixel, _pixel_step, ".safetensors"),
        Phase("adversarial", pixel, pixel + adversarial, _adversarial_step, "-gan.safetensors"),
    ]
    return [phase for phase in phases if phase.stop > phase.start]


def _prepare(config: TrainConfig, root: Path, device: torch.device) -> Run:
    """Build the networks, then read the scans: a wrong setting shows before the long part."""
    _check_names(config)
    model, adversarial = config.model, config.adversarial
    generator = build_generator(model.architecture, model.arguments)
    if model.start:
        _start_from(generator, model.start)
    if not any(p.requires_grad for p in generator.parameters()):
        raise ConfigError(f"{model.architecture!r} has nothing to train; choose a learned architecture")
    plan = PatchPlan.of(generator, config.data, config.degradation)
    discriminator = None
    if adversarial.steps:
        discriminator = build_discriminator(
            adversarial.discriminator,
            adversarial.arguments,
            size=plan.target,
            in_channels=plan.in_channels,
        )
        discriminator = discriminator.to(device).train()
    generator = generator.to(device).train()
    scans = find_training_scans(config.data.train, root)
    held_out = find_training_scans(config.data.validation, root)
    if shared := {scan.path for scan in scans} & {scan.path for scan in held_out}:
        raise ConfigError(
            f"{min(shared)} is in data.train and in data.validation; take it out of one of them"
        )
    announce(config, scans=len(scans))
    optimisers: dict[str, Optimizer] = {"generator": Adam(generator.parameters(), betas=(0.9, 0.99))}
    if discriminator is not None:
        optimisers["discriminator"] = Adam(discriminator.parameters(), betas=(0.5, 0.99))
    return Run(
        config=config,
        device=device,
        plan=plan,
        batches=PatchBatches(
            cached_scans(scans, config.data, plan),
            plan=plan,
            data=config.data,
            degradation=config.degradation,
            seed=config.seed,
        ),
        images=held_out_images(scans, held_out, data=config.data, plan=plan, degradation=config.degradation),
        generator=generator,
        average=deepcopy(generator).requires_grad_(False),
        discriminator=discriminator,
        optimisers=optimisers,
    )


def _start_from(generator: nn.Module, name: str) -> None:
    """Take over the weights of a model file."""
    try:
        generator.load_state_dict(load_model(name).state_dict())
    except RuntimeError as error:
        raise ConfigError(
            f"model.start {name!r} has other weights than model.architecture; use its architecture"
        ) from error


def _check_names(config: TrainConfig) -> None:
    """Raise at an unknown loss, before anything is built."""
    for key, name, known in (
        ("pixel.loss", config.pixel.loss, PIXEL_LOSSES),
        ("adversarial.loss", config.adversarial.loss, ADVERSARIAL_LOSSES),
    ):
        if name not in known:
            raise ConfigError(f"unknown {key} {name!r}; use one of {', '.join(known)}")


def _run_phase(run: Run, phase: Phase, step: int, log: RunLog, on_step: OnStep | None) -> None:
    """Run a phase from `step` finished steps to its end, and save its model."""
    loop = run.config.loop
    if step == phase.start:
        run.generator.load_state_dict(run.average.state_dict())  # the best weights so far
        run.optimisers["generator"].state.clear()
    began = time.perf_counter()
    for done, batch in enumerate(patch_batches(run.batches, step, phase.stop), start=step + 1):
        drawn = time.perf_counter()
        row: dict[str, Any] = {"step": done, "phase": phase.name}
        row |= phase.step(run, done - 1 - phase.start, batch)
        _average(run, done - phase.start)
        row |= {"seconds": time.perf_counter() - began, "data_seconds": drawn - began}
        last = done == phase.stop
        if run.images and (last or done % loop.validate_every == 0):
            row |= judge(run.average, run.images, run.device)
        log.show(row)
        if last or done % LOG_EVERY == 0 or "psnr" in row:
            log.write(row)
        if last:
            _save(run, phase, row)
        if last or done % loop.checkpoint_every == 0:
            _checkpoint(run, done)
        _tell(run, done, row, on_step)
        began = time.perf_counter()


def _pixel_step(run: Run, step: int, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """Move the generator towards the truth."""
    config = run.config.pixel
    rate = _rate(config.rate, step, config.steps, warmup=config.warmup, last=config.last_rate)
    lr, hr = _on_device(run, batch)
    with _precision(run):
        sr = run.generator(lr)
    loss = PIXEL_LOSSES[config.loss](sr.float(), hr)
    norm = _descend(run, "generator", loss, rate)
    return {"loss": loss.item(), "pixel": loss.item(), "gradient_norm": norm, "rate": rate}


def _adversarial_step(run: Run, step: int, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """Move the generator against a frozen discriminator, then the discriminator."""
    config, discriminator = run.config.adversarial, run.discriminator
    if discriminator is None:
        raise ConfigError("an adversarial step needs a discriminator; set adversarial.steps above 0")
    game = ADVERSARIAL_LOSSES[config.loss]
    lr, hr = _on_device(run, batch)
    discriminator.requires_grad_(False)
    with _precision(run):
        sr = run.generator(lr)
        seen = discriminator(sr)
        wanted = discriminator(hr)[:-1] if config.feature_weight else []
    pixel = PIXEL_LOSSES[run.config.pixel.loss](sr.float(), hr)
    adversarial = game.generator(seen[-1].float())
    feature = feature_matching(seen[:-1], wanted) if config.feature_weight else torch.zeros(())
    weight = config.weight * ramp(step, config.ramp)
    loss = config.pixel_weight * pixel + weight * adversarial + config.feature_weight * feature.to(pixel)
    rate = _rate(config.rate, step, config.steps)
    norm = _descend(run, "generator", loss, rate)

    discriminator.requires_grad_(True)
    with _precision(run):
        logits = discriminator(torch.cat([hr, sr.detach().float()]))[-1]
    of_hr, of_sr = logits.float().chunk(2)
    difference = game.discriminator(of_hr, of_sr)
    _descend(run, "discriminator", difference, _rate(config.discriminator_rate, step, config.steps))
    return {
        "loss": loss.item(),
        "pixel": pixel.item(),
        "adversarial": adversarial.item(),
        "feature": feature.item(),
        "discriminator": difference.item(),
        "accuracy_hr": (of_hr > 0).float().mean().item(),
        "accuracy_sr": (of_sr < 0).float().mean().item(),
        "gradient_norm": norm,
        "rate": rate,
    }


def _rate(highest: float, step: int, steps: int, *, warmup: int = 0, last: float = 0.01) -> float:
    """Learning rate: a straight rise, then a cosine to the fraction `last` of the highest."""
    if step < warmup:
        return highest * (step + 1) / warmup
    place = (step - warmup) / max(1, steps - warmup)
    return highest * (last + (1 - last) * (1 + cos(pi * place)) / 2)


def _on_device(run: Run, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """LR and HR patches where the networks are."""
    lr, hr = (batch[key].to(run.device, non_blocking=True) for key in ("lr", "hr"))
    return lr, hr


def _precision(run: Run) -> torch.autocast:
    """Autocast to bfloat16 where the settings ask for it."""
    return torch.autocast(run.device.type, torch.bfloat16, enabled=run.config.loop.precision == "bf16")


def _descend(run: Run, name: str, loss: Tensor, rate: float) -> float:
    """One optimiser step with clipped gradients; return their norm before clipping."""
    optimiser = run.optimisers[name]
    optimiser.zero_grad(set_to_none=True)
    _check_finite(loss, name, rate)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimiser.param_groups:
        group["lr"] = rate
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, run.config.loop.clip or float("inf"))
    _check_finite(norm, name, rate)
    optimiser.step()
    return float(norm)


def _check_finite(value: Tensor, name: str, rate: float) -> None:
    """Raise where a loss or gradient has left the numbers; the weights are still those before the step."""
    if not bool(torch.isfinite(value)):
        raise ModelError(
            f"the {name} diverged: its loss or gradient is {value.item()} at a rate of {rate:.3g}; "
            "lower the rate or loop.clip and resume from the last checkpoint"
        )


@torch.no_grad()
def _average(run: Run, done: int) -> None:
    """Move the averaged generator towards the present one, faster while the phase is young."""
    decay = min(run.config.loop.ema, (1 + done) / (10 + done))
    for mean, value in zip(
        run.average.state_dict().values(), run.generator.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _save(run: Run, phase: Phase, row: Mapping[str, Any]) -> None:
    """Save the averaged generator with its card."""
    name = run.path(phase.ending).stem
    figures = {key: row[key] for key in ("psnr", "psnr_cubic", "ssim", "ssim_cubic") if key in row}
    card = run_card(run.config, run.batches, run.average, name=name, figures=figures, images=len(run.images))
    save_model(run.average, run.path(phase.ending), card, overwrite=True)


def _checkpoint(run: Run, done: int) -> None:
    """Write the state after `done` steps."""
    save_checkpoint(
        run.path(CHECKPOINT),
        step=done,
        config=run.config,
        modules=run.modules,
        optimisers=run.optimisers,
    )


def _tell(run: Run, done: int, row: Mapping[str, Any], on_step: OnStep | None) -> None:
    """Tell the caller; if it cancels, keep what is done."""
    if on_step is None:
        return
    try:
        on_step(row)
    except CancelledError:
        _checkpoint(run, done)
        raise
