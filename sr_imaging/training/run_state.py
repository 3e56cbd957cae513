"""A training run: its phases and files, what changes while it runs, and what of it is saved."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from torch import nn

from sr_imaging.models.discriminator_file import save_discriminator
from sr_imaging.models.model_file import save_model
from sr_imaging.training.config.run import TrainConfig
from sr_imaging.training.data.batches import PatchBatches
from sr_imaging.training.monitoring.stability import Watch
from sr_imaging.training.monitoring.validation import HeldOut, judge

from .checkpoint import load_checkpoint, save_checkpoint
from .distributed import Team
from .learner import Batch, Learner
from .run_card import run_card
from .steps import adversarial_step, pixel_step

__all__ = ["CHECKPOINT", "LOG", "Phase", "Run", "finish_phase", "list_files", "list_phases"]

CHECKPOINT, LOG, DISCRIMINATOR = ".checkpoint.safetensors", ".csv", "-gan.discriminator.safetensors"
Step = Callable[[Learner, int, Iterator[Batch]], dict[str, float]]


@dataclass(frozen=True)
class Phase:
    """Steps ``start`` to ``stop`` of a run, and what each of them does with how many batches."""

    name: str
    start: int
    stop: int
    step: Step
    ending: str  # of the model file
    batches: int = 1

    def first_batch(self, step: int) -> int:
        """Return the number of the first batch after `step` finished steps."""
        return self.start + (step - self.start) * self.batches


@dataclass
class Run:
    """Everything of a run; `best`, `best_psnr` and `waited` are for its early end."""

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
        """Return all networks by name."""
        named = {"generator": self.learner.generator, "average": self.average}
        if self.config.loop.patience:
            named["best"] = self.best
        if self.learner.discriminator is not None:
            named["discriminator"] = self.learner.discriminator
        return named

    def path(self, ending: str) -> Path:
        """Return a file of the run."""
        return _locate_file(self.config, ending)

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
        """Take over the checkpoint; return the finished steps."""
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


def _locate_file(config: TrainConfig, ending: str) -> Path:
    """Return a file of a run by the ending of its name."""
    return Path(config.output) / f"{config.name}{ending}"


def list_files(config: TrainConfig) -> list[Path]:
    """Return the files that a run must not find from an earlier one."""
    endings = (CHECKPOINT, LOG, DISCRIMINATOR, *(phase.ending for phase in list_phases(config)))
    return [_locate_file(config, ending) for ending in endings]


def list_phases(config: TrainConfig) -> list[Phase]:
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


def finish_phase(run: Run, phase: Phase) -> None:
    """End a phase with its best weights: save the averaged generator with its card, and its discriminator."""
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
