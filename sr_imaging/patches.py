"""Scans to batches of patches: found, decoded once, cropped and flipped by MONAI, degraded as a batch.

Batch number `step` depends on the seed and the step alone, so a resumed run needs no state of its data, and
workers change nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.dataset import CacheDataset
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandSpatialCropd
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d
from monai.transforms.transform import Randomizable
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from . import io
from .config import DataConfig, DegradationConfig, as_range
from .degradation import Psf, margin
from .errors import ConfigError
from .transforms import ContextPadd, LoadScand, RandPlaned, degrade_batch, views

__all__ = ["PatchBatches", "PatchPlan", "cached_scans", "find_training_scans", "patch_batches"]

DRAWS = 200  # planes looked at for one patch before the scans are called empty
TRIES = 8  # crops of a plane before the next plane is drawn


@dataclass(frozen=True)
class PatchPlan:
    """Sizes that follow from the generator and the settings, one number per axis.

    Parameters
    ----------
    axes : tuple of str
        Axes of the generator.
    in_channels : int
        Its bands.
    scale, halo : tuple of int
        Its facts; halo in LR pixels.
    patch : tuple of int
        Side of a patch without halo, in LR pixels.
    margin : tuple of int
        HR pixels that the point-spread function sees beyond the LR patch.
    fixed_values : tuple of float, optional
        Offset and scale of the values of a generator that is not equivariant.
    """

    axes: tuple[str, ...]
    in_channels: int
    scale: tuple[int, ...]
    halo: tuple[int, ...]
    patch: tuple[int, ...]
    margin: tuple[int, ...]
    fixed_values: tuple[float, float] | None = None

    @classmethod
    def of(cls, generator: Any, data: DataConfig, degradation: DegradationConfig) -> "PatchPlan":
        """Return the plan of a generator; a generator without halo trains on bare patches."""
        dims = generator.spatial_dims
        patch = (data.patch,) * dims if isinstance(data.patch, int) else data.patch
        if len(patch) != dims:
            raise ConfigError(f"data.patch {patch} has not one number for each of the axes {generator.axes}")
        scale = tuple(int(s) for s in generator.scale)
        widest = Psf(degradation.psf, as_range(degradation.sigma)[1])
        return cls(
            axes=tuple(generator.axes),
            in_channels=generator.in_channels,
            scale=scale,
            halo=tuple(generator.halo or (0,) * dims),
            patch=tuple(patch),
            margin=tuple(margin(widest, s) for s in scale),
            fixed_values=generator.fixed_values,
        )

    @property
    def target(self) -> tuple[int, ...]:
        """Side of the HR patch."""
        return tuple(p * s for p, s in zip(self.patch, self.scale, strict=True))

    @property
    def context(self) -> tuple[int, ...]:
        """HR pixels drawn around the HR patch on each side."""
        return tuple(h * s + m for h, s, m in zip(self.halo, self.scale, self.margin, strict=True))

    @property
    def crop(self) -> tuple[int, ...]:
        """Side of what is cut from a scan."""
        return tuple(t + 2 * c for t, c in zip(self.target, self.context, strict=True))


def find_training_scans(patterns: Sequence[str], root: Path) -> list[Any]:
    """Return the scans that the settings name, in a fixed order, each once.

    Parameters
    ----------
    patterns : sequence of str
        Files, folders or glob patterns relative to `root`, or absolute files.
    root : Path
        Folder they start from.

    Returns
    -------
    list of Scan
        All that can be read.

    Raises
    ------
    ConfigError
        If a pattern finds nothing, or nothing readable.
    """
    found: dict[Any, Any] = {}
    for pattern in patterns:
        matches = [Path(pattern)] if Path(pattern).is_absolute() else sorted(root.glob(pattern))
        scans = [scan for match in matches if match.exists() for scan in io.find_scans(match)]
        good = [scan for scan in scans if scan.verdict.ok]
        if not good:
            reason = f"{scans[0].path}: {scans[0].verdict}" if scans else f"no scan under {root}"
            raise ConfigError(f"{pattern!r} finds nothing to train on ({reason}); correct it or data.root")
        found.update({(scan.path, scan.series_uid): scan for scan in good})
    return list(found.values())


def cached_scans(scans: Sequence[Any], data: DataConfig, plan: PatchPlan) -> CacheDataset:
    """Decode scans once; an item is a random plane of one.

    Parameters
    ----------
    scans : sequence of Scan or path
        What to read.
    data : DataConfig
        How patches are drawn.
    plan : PatchPlan
        Their sizes.

    Returns
    -------
    CacheDataset
        Item: a dict of ``hr``, ``(C, *n)``, and ``hr_std``, the standard deviation of the scan.

    Raises
    ------
    ConfigError
        If a scan has no image of the size, axes or bands that the plan needs.
    """
    random = [
        RandPlaned("hr", axes=plan.axes, in_channels=plan.in_channels, least=plan.target),
        ContextPadd("hr", context=plan.context, below=[2 * size for size in plan.crop]),
    ]
    load = LoadScand("hr", clip=data.clip, kept=(0.0, 1.0 - data.held_out))
    with _plain_tensors():
        dataset = CacheDataset(
            [{"hr": scan} for scan in scans],
            Compose([load, *random]),
            copy_cache=False,  # no random transform writes to the scan
            num_workers=1,
            progress=False,
        )
    for scan, item in zip(scans, dataset._cache, strict=True):
        _check_scan(scan, item, plan)
    return dataset


def _check_scan(scan: Any, item: Mapping[str, Any], plan: PatchPlan) -> None:
    """Raise unless patches can be drawn from a scan."""
    hr, spacing = item["hr"], item["hr_facts"]["spacing"]
    name = getattr(scan, "path", scan)
    if plan.in_channels not in (1, hr.shape[0]):
        raise ConfigError(
            f"{name} has {hr.shape[0]} bands, the model takes {plan.in_channels}; use in_channels = 1"
        )
    if not views(spacing, plan.axes, shape=hr.shape[1:], least=plan.target):
        raise ConfigError(
            f"{name} of shape {tuple(hr.shape[1:])} and spacing {spacing} has no fine plane of {plan.target} "
            f"pixels for the axes {plan.axes}; leave it out or lower data.patch"
        )


class PatchBatches(Dataset[dict[str, Tensor]]):
    """Batches by step: item `step` is a pair of LR patches with halo and HR patches without.

    A batch has numbered slots, and each slot draws its patch with a random state of its own, so that several
    processes can share a batch: each draws its part of the slots, and together they have the whole.

    Parameters
    ----------
    scans : CacheDataset
        From :func:`cached_scans`.
    plan : PatchPlan
        Sizes.
    data : DataConfig
        How patches are drawn.
    degradation : DegradationConfig
        How LR is made.
    seed : int
        All batches follow from it.
    part : (int, int)
        Rank and number of the processes that share each batch; this one draws the rank-th part of it.

    Raises
    ------
    ConfigError
        If the number of processes does not divide the batch.
    """

    def __init__(
        self,
        scans: CacheDataset,
        *,
        plan: PatchPlan,
        data: DataConfig,
        degradation: DegradationConfig,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        rank, world = part
        if data.batch % world:
            raise ConfigError(
                f"data.batch {data.batch} is no whole multiple of the {world} processes; give one that is"
            )
        self.scans = scans
        self.plan = plan
        self.data = data
        self.degradation = degradation
        self.seed = seed
        share = data.batch // world
        self.slots = range(rank * share, (rank + 1) * share)
        self.crops = _crops(plan)
        valid = [float(torch.isfinite(item["hr"]).sum()) for item in scans._cache]
        self.weights = np.sqrt(valid) / np.sqrt(valid).sum()  # large scans more often, but not all the time

    def __len__(self) -> int:
        """Any step has a batch; this is a bound for samplers."""
        return 2**31

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return ``lr`` ``(B, C, *(patch + 2 * halo))`` and ``hr`` ``(B, C, *(patch * scale))``."""
        with _plain_tensors():
            planes: dict[tuple[int, int], Mapping[str, Any]] = {}
            patches = [self._patch(step, slot, planes) for slot in self.slots]
        return {key: torch.cat([patch[key] for patch in patches]) for key in patches[0]}

    def _patch(self, step: int, slot: int, planes: dict[tuple[int, int], Any]) -> dict[str, Tensor]:
        """Return the pair of one slot, as a batch of one."""
        rng = _random(self.seed, step, slot)
        hr, std = self._draw(rng, step, slot // self.data.per_plane, planes)
        psf = Psf(self.degradation.psf, rng.uniform(*as_range(self.degradation.sigma)))
        surplus = [m - margin(psf, s) for m, s in zip(self.plan.margin, self.plan.scale, strict=True)]
        lr = degrade_batch(_trim(hr, surplus), psf, self.plan.scale)
        lr = self._noisy(lr, std, rng)
        hr = _trim(hr, self.plan.context)
        offset, unit = self._values(hr, std)
        return {"lr": (lr - offset) / unit, "hr": (hr - offset) / unit}

    def _draw(
        self, rng: np.random.RandomState, step: int, group: int, planes: dict[tuple[int, int], Any]
    ) -> tuple[Tensor, float]:
        """Draw a crop, as a batch of one, and the standard deviation of its scan.

        The slots of a group draw from one plane; where a slot finds nothing there, from the next plane.
        """
        _give(self.crops, rng)
        for attempt in range(DRAWS):
            if (group, attempt) not in planes:
                planes[group, attempt] = self._plane(_random(self.seed, step, group, attempt))
            plane = planes[group, attempt]
            for _ in range(TRIES):
                hr = self.crops(dict(plane))["hr"][None]
                if self._accepts(hr, plane["hr_std"], rng.random_sample()):
                    return hr, plane["hr_std"]
        raise ConfigError(
            f"no patch in {DRAWS} planes: the scans are almost all nodata or constant; choose other scans "
            "or lower data.min_detail"
        )

    def _plane(self, rng: np.random.RandomState) -> Mapping[str, Any]:
        """Draw a scan, and a plane of it."""
        _give(self.scans.transform, rng)
        plane: Mapping[str, Any] = self.scans[int(rng.choice(len(self.weights), p=self.weights))]
        return plane

    def _accepts(self, hr: Tensor, std: float, chance: float) -> bool:
        """Take a patch by its detail; never one with an invalid pixel or a constant one."""
        if not math.isfinite(float(hr.sum())):
            return False
        detail = float(_trim(hr, self.plan.context).std())
        return detail > 0 and detail >= chance * self.data.min_detail * std

    def _noisy(self, lr: Tensor, std: float, rng: np.random.RandomState) -> Tensor:
        """Add noise of a strength that is drawn for the patch."""
        if self.degradation.noise == "none":
            return lr
        sigma = rng.uniform(*as_range(self.degradation.noise_sigma)) * std
        draw = torch.Generator().manual_seed(int(rng.randint(2**31)))
        noisy = lr + sigma * torch.randn(lr.shape, generator=draw)
        if self.degradation.noise == "gaussian":
            return noisy
        return torch.hypot(noisy, sigma * torch.randn(lr.shape, generator=draw))

    def _values(self, hr: Tensor, std: float) -> tuple[Tensor, Tensor]:
        """Offset and unit of a patch: those of the generator, or its mean and a mixed deviation."""
        if self.plan.fixed_values is not None:
            return torch.tensor(self.plan.fixed_values[0]), torch.tensor(self.plan.fixed_values[1])
        offset = hr.mean(tuple(range(2, hr.ndim)), keepdim=True)
        return offset, hr.std() ** self.data.patch_weight * std ** (1 - self.data.patch_weight)


def _random(*numbers: int) -> np.random.RandomState:
    """Return a random state, as MONAI wants it, that follows from some numbers."""
    return np.random.RandomState(np.random.PCG64(numbers))  # the usual bits take ten times as long to seed


def _give(chain: Any, rng: np.random.RandomState) -> None:
    """Let all random transforms of a chain draw from one random state."""
    for transform in chain.transforms:
        if isinstance(transform, Randomizable):
            transform.set_random_state(state=rng)


def _crops(plan: PatchPlan) -> Compose:
    """Return MONAI's random transforms from a plane to a patch with context."""
    square = plan.axes == ("y", "x") and len(set(plan.crop)) == 1
    flipped = (0,) if square else range(len(plan.axes))  # one flip and the rotations make all eight
    return Compose(
        [
            RandSpatialCropd("hr", plan.crop, random_size=False),
            *(RandFlipd("hr", prob=0.5, spatial_axis=axis) for axis in flipped),
            *([RandRotate90d("hr", prob=0.75, max_k=3)] if square else []),
        ]
    )


def patch_batches(source: PatchBatches, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of steps `start` to `stop`, drawn by as many workers as the settings ask for."""
    loader = DataLoader(
        Subset(source, range(start, stop)),
        batch_size=None,
        num_workers=source.data.workers,
        pin_memory=torch.cuda.is_available(),
    )
    yield from loader


def _trim(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Cut pixels from both sides of every spatial axis."""
    for axis, width in enumerate(widths):
        x = x.narrow(2 + axis, width, x.shape[2 + axis] - 2 * width)
    return x


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Let MONAI work on plain tensors: its metadata would cost four times the crop."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
