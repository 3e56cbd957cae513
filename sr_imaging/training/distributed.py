"""Several processes that train one model: who this one is, and what they tell each other.

``torchrun`` starts them and says who is who; gradients are averaged in one piece after the way back. Messages
are plain tensors.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from sr_imaging.errors import ConfigError, ResourceError

__all__ = ["ALONE", "Team", "expected_team", "team_of"]

log = logging.getLogger(__name__)
TIMEOUT = timedelta(minutes=10)  # the longest that processes may differ, in reading scans for example


@dataclass(frozen=True)
class Team:
    """One process among those of a run.

    Parameters
    ----------
    rank, world : int
        Its number, from 0, and how many there are.
    device : str
        Where its messages lie.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, the same in each."""
        if self.world == 1:
            return values
        total = values.to(self.device, copy=True)
        with _lost_means_error():
            distributed.all_reduce(total)
        return total.to(values.device)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over all processes."""
        if self.world == 1:
            return list(numbers)
        total = self.sum(torch.tensor(numbers, dtype=torch.float64))
        return [float(value) for value in total / self.world]

    def gather(self, share: Tensor) -> Tensor:
        """Return the shares ``(B, …)`` of all processes in one; gradients find their way back."""
        if self.world == 1:
            return share
        whole: Tensor = _Gathered.apply(share, self)  # type: ignore[no-untyped-call]
        return whole

    def spread(self, share: Tensor) -> Tensor:
        """Return the standard deviation over the patches ``(B, …)`` of all processes, ``(…)``."""
        count = len(share) * self.world
        mean = self.sum(share.sum(0)) / count
        return (self.sum((share - mean).square().sum(0)) / max(1, count - 1)).sqrt()

    def draw(self, count: int, *size: int, device: torch.device, normal: bool = True) -> Tensor:
        """Return this process's share ``(count, *size)`` of random numbers, normal or even in 0 to 1.

        They are drawn for the whole batch, so that processes of one seed have together what one would have.
        """
        make = torch.randn if normal else torch.rand
        whole = make(count * self.world, *size, device=device)
        return whole[self.rank * count : (self.rank + 1) * count]

    def any(self, claim: bool) -> bool:
        """Return whether any process claims something."""
        return claim if self.world == 1 else float(self.sum(torch.tensor(float(claim)))) > 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes, in one message."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients])) / self.world
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def average_statistics(self, module: nn.Module) -> None:
        """Replace the running statistics of batch normalisation by their mean over all processes."""
        if self.world == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.world)

    def share(self, module: nn.Module) -> None:
        """Give every process the tensors of the first."""
        if self.world == 1:
            return
        with _lost_means_error():
            for tensor in module.state_dict().values():
                message = tensor.to(self.device, copy=True)
                distributed.broadcast(message, src=0)
                tensor.copy_(message)


class _Gathered(torch.autograd.Function):
    """Shares of all processes in each of them; on the way back each has its part of all gradients."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, team: Team) -> Tensor:
        """Put the shares one after the other."""
        ctx.team = team
        whole = share.new_zeros(team.world, *share.shape)
        whole[team.rank] = share
        return team.sum(whole).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Sum what all processes ask of this one's share."""
        team: Team = ctx.team
        return team.sum(slope.contiguous()).chunk(team.world)[team.rank], None


ALONE = Team()


def expected_team() -> tuple[int, int]:
    """Return rank and number of the processes as ``torchrun`` states them; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def team_of(device: torch.device, *, batch: int, parts: int) -> Iterator[tuple[Team, torch.device]]:
    """Join the processes that ``torchrun`` started; alone without it.

    Parameters
    ----------
    device : torch.device
        Kind of device to train on; each process on a machine takes a GPU of its own.
    batch : int
        Patches of a step, shared among the processes.
    parts : int
        Parts that each process computes its share in.

    Yields
    ------
    Team, torch.device
        This process among the others, and its device.

    Raises
    ------
    ConfigError
        If the batch cannot be shared evenly, or a machine has fewer GPUs than processes.
    ResourceError
        If another process was lost.
    """
    rank, world = expected_team()
    if world == 1:
        yield ALONE, device
        return
    if batch % (world * parts):
        raise ConfigError(
            f"data.batch {batch} cannot be shared evenly by {world} processes in {parts} parts; "
            f"give a multiple of {world * parts}"
        )
    if device.type == "cuda":
        device = _own_gpu(int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Team(rank, world, str(device)), device
    finally:
        distributed.destroy_process_group()


def _own_gpu(local_rank: int) -> torch.device:
    """The GPU of a process."""
    have = torch.cuda.device_count()
    if local_rank >= have:
        raise ConfigError(
            f"process {local_rank} of this machine has no GPU of its own, there are {have}; "
            f"start torchrun with --nproc_per_node={have}"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def _lost_means_error() -> Iterator[None]:
    """Tell a lost process from other errors of a message."""
    try:
        yield
    except RuntimeError as error:  # gloo raises it plainly, DistBackendError is one
        raise ResourceError(
            "another process of the run was lost; start torchrun again with --resume, it goes on from the "
            "last checkpoint"
        ) from error
