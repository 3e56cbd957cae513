"""How a training run is set up: networks first, then the scans, and one rehearsal of a step."""

import logging
from copy import deepcopy
from pathlib import Path

import torch

from sr_imaging.errors import ConfigError
from sr_imaging.training.config.run import TrainConfig
from sr_imaging.training.data.batches import PatchBatches
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.data.scan_cache import cached_scans
from sr_imaging.training.data.scan_list import training_scans
from sr_imaging.training.monitoring.log import announce
from sr_imaging.training.monitoring.validation import held_out_images

from .distributed import Team
from .learner import build_learner, fresh_generator, recompute_blocks, rehearse
from .run_state import Run

__all__ = ["prepare_run"]

log = logging.getLogger(__name__)


def prepare_run(config: TrainConfig, root: Path, device: torch.device, team: Team) -> Run:
    """Return a run ready for its first step; a wrong setting fails before the scans are read."""
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
