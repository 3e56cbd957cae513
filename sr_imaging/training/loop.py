"""The training loop: pixel phase, adversarial phase, averaged weights, validation, exact resume.

What is random in a step follows from the seed and the step alone, so that a resumed run needs no state of it.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sr_imaging.errors import CancelledError, ConfigError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES
from sr_imaging.models.discriminator_file import save_discriminator
from sr_imaging.models.model_file import save_model
from sr_imaging.networks.device import pick_device
from sr_imaging.training.config.run import TrainConfig, read_config
from sr_imaging.training.data.batches import PatchBatches, patch_batches
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.data.scan_cache import cached_scans
from sr_imaging.training.data.scan_list import training_scans
from sr_imaging.training.monitoring.log import RunLog, announce
from sr_imaging.training.monitoring.pictures import Monitor, draw_curves
from sr_imaging.training.monitoring.stability import Watch
from sr_imaging.training.monitoring.validation import HeldOut, held_out_images, judge

from .checkpoint import check_new, load_checkpoint, save_checkpoint
from .distributed import Team, expected_team, team_of
from .learner import Batch, Learner, build_learner, fresh_generator, recompute_blocks, rehearse
from .run_card import run_card
from .steps import adversarial_step, average, pixel_step

__all__ = ["train"]

log = logging.getLogger(__name__)
LOG_EVERY = 10  # steps between rows of the log
CHECKPOINT, LOG, DISCRIMINATOR = ".checkpoint.safetensors", ".csv", "-gan.discriminator.safetensors"
OnStep = Callable[[Mapping[str, Any]], None]
Step = Callable[[Learner, int, Iterator[Batch]], dict[str, float]]


@dataclass(frozen=True)
class Phase:
    """A stretch of steps ``start`` to ``stop``, and what each of them does with how many batches."""

    name: str
    start: int
    stop: int
    step: Step
    ending: str  # of the model file
    batches: int = 1


@dataclass
class Run:
    """Everything of a run; `best`, `best_psnr` and `waited` serve its early end."""

    config: TrainConfig
    team: Team
    learner: Learner
    batches: PatchBatches
    images: list[HeldOut]
    average: nn.Module
    best: nn.Module
    best_psnr: float = -inf
    waited: int = 0  # validations since the best
    figures: dict[str, float] = field(default_factory=dict)  # of the last validation

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All networks by name."""
        named = {"generator": self.learner.generator, "average": self.average}
        if self.config.loop.patience:
            named["best"] = self.best
        if self.learner.discriminator is not None:
            named["discriminator"] = self.learner.discriminator
        return named

    def path(self, ending: str) -> Path:
        """Return a file of the run."""
        return _path(self.config, ending)

    def save(self, done: int) -> None:
        """Write the checkpoint after `done` steps."""
        if self.team.leads:
            learner = self.learner
            scalers = {name: scaler.state_dict() for name, scaler in learner.scalers.items()}
            early = {"best_psnr": self.best_psnr, "waited": self.waited, "figures": self.figures}
            save_checkpoint(
                self.path(CHECKPOINT),
                step=done,
                config=self.config,
                modules=self.modules,
                optimisers=learner.optimisers,
                state={"watch": learner.watch.state(), "scalers": scalers, **early},
            )

    def restore(self) -> int:
        """Take up the checkpoint; return the finished steps."""
        learner = self.learner
        step, state = load_checkpoint(
            self.path(CHECKPOINT), config=self.config, modules=self.modules, optimisers=learner.optimisers
        )
        self.learner = learner = replace(learner, watch=Watch.of(state["watch"]))
        for name, scaler in learner.scalers.items():
            scaler.load_state_dict(state["scalers"][name])
        self.best_psnr, self.waited = state["best_psnr"], state["waited"]
        self.figures = state["figures"]
        return step


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

    Writes into ``config.output``: ``NAME.safetensors`` after the pixel phase; ``NAME-gan.safetensors`` and
    ``NAME-gan.discriminator.safetensors`` after the adversarial phase; the log ``NAME.csv``, its curves
    ``NAME.png``, pictures and TensorBoard's files in ``NAME-log``; the checkpoint
    ``NAME.checkpoint.safetensors``.

    Under ``torchrun`` the processes share every batch; the first one writes.

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
        If a loss is no longer finite, the output has collapsed or a network stays unstable; the last
        checkpoint is kept.
    ResourceError
        If another process of the run was lost; the last checkpoint is kept.
    CancelledError
        As raised by `on_step`.
    """
    config = config if isinstance(config, TrainConfig) else read_config(config)
    if resume and overwrite:
        raise ConfigError("resume and overwrite are both True; pass one of them")
    leads = expected_team()[0] == 0
    if leads and not (resume or overwrite):
        endings = (CHECKPOINT, LOG, DISCRIMINATOR, *(phase.ending for phase in _phases(config)))
        check_new(_path(config, ending) for ending in endings)
    root = Path(data_root if data_root is not None else config.data.root)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(config.seed)
        wanted = torch.device(pick_device(device))
        shares = config.data.batch, config.loop.accumulate
        team, own = stack.enter_context(team_of(wanted, batch=shares[0], parts=shares[1]))
        run = _prepare(config, root, own, team)
        if overwrite and leads:
            run.path(CHECKPOINT).unlink(missing_ok=True)  # or a later resume could go on with the earlier run
        step = run.restore() if resume else 0
        phases = _phases(config)
        shown = RunLog(run.path(LOG), step=step, steps=phases[-1].stop, progress=progress, silent=not leads)
        book = stack.enter_context(shown)
        monitor = stack.enter_context(Monitor(run.path("-log"), step=step, silent=not leads))
        if not resume:
            run.save(0)
        for phase in phases:
            if step < phase.stop:
                _run_phase(run, phase, step, (book, monitor), on_step)
                step = phase.stop
        if leads:
            draw_curves(run.path(LOG), run.path(".png"), title=config.name)
    return run.path(phases[-1].ending)


def _path(config: TrainConfig, ending: str) -> Path:
    """Return a file of a run."""
    return Path(config.output) / f"{config.name}{ending}"


def _phases(config: TrainConfig) -> list[Phase]:
    """Return the phases that have steps."""
    pixel, adversarial = config.pixel.steps, config.adversarial.steps
    phases = [
        Phase("pixel", 0, pixel, pixel_step, ".safetensors"),
        Phase(
            "adversarial",
            pixel,
            pixel + adversarial,
            adversarial_step,
            "-gan.safetensors",
            config.adversarial.d_steps,
        ),
    ]
    return [phase for phase in phases if phase.stop > phase.start]


def _prepare(config: TrainConfig, root: Path, device: torch.device, team: Team) -> Run:
    """Build the networks, then read the scans: a wrong setting shows before the long part."""
    generator = fresh_generator(config)
    plan = PatchPlan.of(generator, config.data, config.degradation)
    learner = build_learner(config, generator, plan=plan, device=device, team=team)
    mean, best = (deepcopy(generator).requires_grad_(False) for _ in range(2))
    if config.loop.recompute:
        recompute_blocks(generator, config.model.architecture)
    scans = training_scans(config.data, root)
    held_out = training_scans(config.data, root, held_out=True)
    if shared := {scan.identity for scan in scans} & {scan.identity for scan in held_out}:
        raise ConfigError(
            f"{min(shared)[0]} is in data.train and in data.validation; take it out of one of them"
        )
    if team.leads:
        announce(config, scans=len(scans), processes=team.world)
    decoded = cached_scans(scans, config.data, plan)
    run = Run(
        config=config,
        team=team,
        learner=learner,
        batches=PatchBatches(
            decoded,
            plan=plan,
            data=config.data,
            degradation=config.degradation,
            seed=config.seed,
            part=(team.rank, team.world),
        ),
        images=held_out_images(
            scans,
            held_out,
            data=config.data,
            plan=plan,
            degradation=config.degradation,
            units=decoded.units,
        ),
        average=mean,
        best=best,
    )
    rehearse(learner, run.batches[0])  # raises where no patch can be drawn, before any file is written
    if team.leads and not run.images and (held_out or config.data.held_out):
        log.warning("no validation: all that is held out is too small, flat or invalid; hold out more")
    return run


def _run_phase(
    run: Run, phase: Phase, step: int, tellers: tuple[RunLog, Monitor], on_step: OnStep | None
) -> None:
    """Run a phase from `step` finished steps to its end, and save its model."""
    learner, (book, monitor) = run.learner, tellers
    if step == phase.start:
        learner.generator.load_state_dict(run.average.state_dict())  # the best weights so far
        learner.optimisers["generator"].state.clear()
    drawn = _Timed(patch_batches(run.batches, _batch_number(phase, step), _batch_number(phase, phase.stop)))
    for done in range(step + 1, phase.stop + 1):
        began, drawn.seconds = time.perf_counter(), 0.0
        torch.manual_seed(_seed_of(run, done))
        row: dict[str, Any] = {"step": done, "phase": phase.name}
        row |= _common(run.team, phase.step(learner, done - 1 - phase.start, drawn))
        learner.watch.look(row, wins_matter=ADVERSARIAL_LOSSES[run.config.adversarial.loss].saturates)
        average(run.average, learner.generator, decay=run.config.loop.ema, done=done - phase.start)
        row |= {"seconds": time.perf_counter() - began, "data_seconds": drawn.seconds}
        last = _validate(run, phase, row) or done == phase.stop
        book.show(row)
        if last or done % LOG_EVERY == 0 or "psnr" in row:
            book.write(row)
            monitor.write(row)
        if "psnr" in row and run.team.leads:
            monitor.picture(done, run.average, run.images)
        if last:
            _finish(run, phase)
        if last or done % run.config.loop.checkpoint_every == 0:
            run.save(phase.stop if last else done)  # an early end skips what is left of the phase
        _tell(run, phase.stop if last else done, row, on_step)
        if last:
            return


class _Timed(Iterator[Batch]):
    """Batches, with the seconds that were waited for them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __next__(self) -> Batch:
        began = time.perf_counter()
        batch = next(self.batches)
        self.seconds += time.perf_counter() - began
        return batch


def _batch_number(phase: Phase, step: int) -> int:
    """Number of the first batch after `step` finished steps."""
    return phase.start + (step - phase.start) * phase.batches


def _seed_of(run: Run, step: int) -> int:
    """Seed of what is random in a step besides its batch: noise maps, instance noise, places of a penalty.

    One for all processes: each draws for the whole batch and takes its share.
    """
    return hash((run.config.seed, step)) % 2**63


def _common(team: Team, row: dict[str, float]) -> dict[str, float]:
    """The numbers of a step, averaged over all processes."""
    names = sorted(row)
    return dict(zip(names, team.mean([row[name] for name in names]), strict=True))


def _validate(run: Run, phase: Phase, row: dict[str, Any]) -> bool:
    """Add figures of validation where they are due; tell whether the phase should end early."""
    done, loop = row["step"], run.config.loop
    if not run.images or (done != phase.stop and done % loop.validate_every):
        return False
    run.team.average_statistics(run.average)  # so that every process judges one and the same generator
    run.figures = judge(run.average, run.images, run.learner.device, team=run.team)
    row |= run.figures
    if not loop.patience or phase.name != "pixel":
        return False
    if row["psnr"] > run.best_psnr:
        run.best_psnr, run.waited = row["psnr"], 0
        run.best.load_state_dict(run.average.state_dict())
    else:
        run.waited += 1
    return run.waited >= loop.patience


def _finish(run: Run, phase: Phase) -> None:
    """Save the averaged generator with its card, and the discriminator that it met."""
    config, learner = run.config, run.learner
    if run.waited:
        run.average.load_state_dict(run.best.state_dict())
        run.figures = judge(run.average, run.images, learner.device, team=run.team)
        run.waited = 0
    run.team.average_statistics(run.average)
    if learner.discriminator is not None:
        run.team.average_statistics(learner.discriminator)
    if not run.team.leads:
        return
    path = run.path(phase.ending)
    card = run_card(
        config, run.batches, run.average, name=path.stem, figures=run.figures, images=len(run.images)
    )
    save_model(run.average, path, card, overwrite=True)
    if learner.discriminator is not None and phase.name == "adversarial":
        save_discriminator(
            learner.discriminator,
            run.path(DISCRIMINATOR),
            loss=config.adversarial.loss,
            architecture=config.adversarial.discriminator,
            arguments=config.adversarial.arguments,
            size=run.batches.plan.target,
            in_channels=run.batches.plan.in_channels,
            overwrite=True,
        )


def _tell(run: Run, done: int, row: Mapping[str, Any], on_step: OnStep | None) -> None:
    """Tell the caller; if it cancels in any process, keep what is done and end in all of them."""
    cancelled = None
    try:
        if on_step is not None:
            on_step(row)
    except CancelledError as error:
        cancelled = error
    if run.team.any(cancelled is not None):
        run.save(done)
        raise cancelled or CancelledError(f"another process was told to end; step {done} is kept")
