"""Several processes that train one model: who this one is, and what they send each other.

``torchrun`` starts them and numbers them; gradients are averaged in one message after the backward pass.
Messages are plain tensors.
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
    """One process among those of a run."""

    rank: int = 0  # its number, from 0
    world: int = 1  # how many there are
    device: str = "cpu"  # that holds its messages

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, the same in each."""
        if self.world == 1:
            return values
        total = values.to(self.device, copy=True)
        with _report_lost_process():
            distributed.all_reduce(total)
        return total.to(values.device)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over all processes."""
        if self.world == 1:
            return list(numbers)
        total = self.sum(torch.tensor(numbers, dtype=torch.float64))
        return [float(value) for value in total / self.world]

    def gather(self, share: Tensor) -> Tensor:
        """Return the shares ``(B, …)`` of all processes as one tensor; gradients flow back to each."""
        if self.world == 1:
            return share
        whole: Tensor = _GatherShares.apply(share, self)  # type: ignore[no-untyped-call]
        return whole

    def deviation(self, share: Tensor) -> Tensor:
        """Return the standard deviation over the patches ``(B, …)`` of all processes, ``(…)``."""
        count = len(share) * self.world
        mean = self.sum(share.sum(0)) / count
        return (self.sum((share - mean).square().sum(0)) / max(1, count - 1)).sqrt()

    def draw(self, count: int, *size: int, device: torch.device, normal: bool = True) -> Tensor:
        """Return this process's share ``(count, *size)`` of random numbers, normal or uniform in 0 to 1.

        They are drawn for the whole batch, so that processes of one seed together have what one would have.
        """
        make = torch.randn if normal else torch.rand
        whole = make(count * self.world, *size, device=device)
        return whole[self.rank * count : (self.rank + 1) * count]

    def any(self, claim: bool) -> bool:
        """Return whether the claim is true in any process."""
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
        """Give every process the tensors of the first one."""
        if self.world == 1:
            return
        with _report_lost_process():
            for tensor in module.state_dict().values():
                message = tensor.to(self.device, copy=True)
                distributed.broadcast(message, src=0)
                tensor.copy_(message)


class _GatherShares(torch.autograd.Function):
    """Shares of all processes in each of them; the backward pass returns each its part of all gradients."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, team: Team) -> Tensor:
        """Return the shares one after the other."""
        ctx.team = team
        whole = share.new_zeros(team.world, *share.shape)
        whole[team.rank] = share
        return team.sum(whole).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Return the sum of all gradients to this process's share."""
        team: Team = ctx.team
        return team.sum(slope.contiguous()).chunk(team.world)[team.rank], None


ALONE = Team()


def expected_team() -> tuple[int, int]:
    """Return rank and number of the processes as ``torchrun`` states them; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def team_of(device: torch.device, *, batch: int, parts: int) -> Iterator[tuple[Team, torch.device]]:
    """Join the processes that ``torchrun`` started, alone without it; yield this one and its device.

    Each process on a machine takes a GPU of its own. Raises `ConfigError` if `batch` patches in `parts` parts
    cannot be shared evenly or a GPU is missing, `ResourceError` if another process is lost.
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
        device = _pick_own_gpu(int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Team(rank, world, str(device)), device
    finally:
        distributed.destroy_process_group()


def _pick_own_gpu(local_rank: int) -> torch.device:
    """Return the GPU of a process."""
    have = torch.cuda.device_count()
    if local_rank >= have:
        raise ConfigError(
            f"process {local_rank} of this machine has no GPU of its own, there are {have}; "
            f"start torchrun with --nproc_per_node={have}"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def _report_lost_process() -> Iterator[None]:
    """Raise a `ResourceError` where a message fails because another process is lost."""
    try:
        yield
    except RuntimeError as error:  # gloo raises it plainly, DistBackendError is one
        raise ResourceError(
            "another process of the run was lost; start torchrun again with --resume to continue from the "
            "last checkpoint"
        ) from error
