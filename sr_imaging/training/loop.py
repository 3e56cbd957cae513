"""The training loop: pixel phase, adversarial phase, averaged weights, validation, exact resume.

What is random in a step follows from the seed and the step alone, so that a resumed run needs no state of it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from sr_imaging.errors import CancelledError, ConfigError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES
from sr_imaging.networks.device import pick_device
from sr_imaging.training.config.run import TrainConfig, read_config
from sr_imaging.training.data.batches import patch_batches
from sr_imaging.training.monitoring.log import RunLog
from sr_imaging.training.monitoring.pictures import Monitor, draw_curves
from sr_imaging.training.monitoring.validation import judge

from .checkpoint import check_new
from .distributed import Team, expected_team, team_of
from .learner import Batch
from .run_state import CHECKPOINT, LOG, Phase, Run, finish_phase, list_files, list_phases
from .set_up import prepare_run
from .steps import update_average

__all__ = ["train"]

LOG_EVERY = 10  # steps between rows of the log
OnStep = Callable[[Mapping[str, Any]], None]


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
        check_new(list_files(config))
    root = Path(data_root if data_root is not None else config.data.root)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(config.seed)
        wanted = torch.device(pick_device(device))
        shares = config.data.batch, config.loop.accumulate
        team, own = stack.enter_context(team_of(wanted, batch=shares[0], parts=shares[1]))
        run = prepare_run(config, root, own, team)
        if overwrite and leads:
            run.path(CHECKPOINT).unlink(missing_ok=True)  # or a later resume could go on with the earlier run
        step = run.restore() if resume else 0
        phases = list_phases(config)
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


def _run_phase(
    run: Run, phase: Phase, step: int, reporters: tuple[RunLog, Monitor], on_step: OnStep | None
) -> None:
    """Run a phase from `step` finished steps to its end, and save its model."""
    book, monitor = reporters
    if step == phase.start:
        run.learner.generator.load_state_dict(run.average.state_dict())  # the best weights so far
        run.learner.optimisers["generator"].state.clear()
    drawn = _TimedBatches(patch_batches(run.batches, phase.first_batch(step), phase.first_batch(phase.stop)))
    for done in range(step + 1, phase.stop + 1):
        row = _take_step(run, phase, done, drawn)
        last = _validate(run, phase, row) or done == phase.stop
        book.show(row)
        if last or done % LOG_EVERY == 0 or "psnr" in row:
            book.write(row)
            monitor.write(row)
        if "psnr" in row and run.team.leads:
            monitor.picture(done, run.average, run.images)
        if last:
            finish_phase(run, phase)
        if last or done % run.config.loop.checkpoint_every == 0:
            run.save(phase.stop if last else done)  # an early end skips what is left of the phase
        _report_step(run, phase.stop if last else done, row, on_step)
        if last:
            return


def _take_step(run: Run, phase: Phase, done: int, drawn: "_TimedBatches") -> dict[str, Any]:
    """Take the step that makes `done` of them; return its row of the log."""
    learner = run.learner
    began, drawn.seconds = time.perf_counter(), 0.0
    torch.manual_seed(_derive_seed(run, done))
    row: dict[str, Any] = {"step": done, "phase": phase.name}
    row |= _average_over_processes(run.team, phase.step(learner, done - 1 - phase.start, drawn))
    learner.watch.look(row, wins_matter=ADVERSARIAL_LOSSES[run.config.adversarial.loss].saturates)
    update_average(run.average, learner.generator, decay=run.config.loop.ema, done=done - phase.start)
    return {**row, "seconds": time.perf_counter() - began, "data_seconds": drawn.seconds}


class _TimedBatches(Iterator[Batch]):
    """Batches, with the seconds that were waited for them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __next__(self) -> Batch:
        began = time.perf_counter()
        batch = next(self.batches)
        self.seconds += time.perf_counter() - began
        return batch


def _derive_seed(run: Run, step: int) -> int:
    """Return the seed of what is random in a step besides its batch: noise, and the places of a penalty.

    It is one for all processes: each draws for the whole batch and takes its share.
    """
    return hash((run.config.seed, step)) % 2**63


def _average_over_processes(team: Team, row: dict[str, float]) -> dict[str, float]:
    """Return the numbers of a step, averaged over all processes."""
    names = sorted(row)
    return dict(zip(names, team.mean([row[name] for name in names]), strict=True))


def _validate(run: Run, phase: Phase, row: dict[str, Any]) -> bool:
    """Add the figures of a validation to the row where one is due; return whether the phase ends early."""
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


def _report_step(run: Run, done: int, row: Mapping[str, Any], on_step: OnStep | None) -> None:
    """Call `on_step`; if it cancels in any process, save a checkpoint and end in all of them."""
    cancelled = None
    try:
        if on_step is not None:
            on_step(row)
    except CancelledError as error:
        cancelled = error
    if run.team.any(cancelled is not None):
        run.save(done)
        raise cancelled or CancelledError(
            f"another process was asked to end; the checkpoint of step {done} is kept"
        )
