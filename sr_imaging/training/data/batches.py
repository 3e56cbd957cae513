"""Scans to batches of patches: planes of decoded scans, cropped and flipped by MONAI, then degraded.

Batch number `step` depends on the seed and the step alone, so a resumed run needs no state of its data, and
workers change nothing.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from monai.transforms.croppad.dictionary import RandSpatialCropd
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d
from monai.transforms.transform import Randomizable
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from sr_imaging.degradation.psf import margin
from sr_imaging.degradation.settings import DegradationConfig, as_range
from sr_imaging.degradation.tensors import degrade_any, degrade_batch
from sr_imaging.errors import ConfigError
from sr_imaging.image.pixels.fill import fill_bands
from sr_imaging.training.config.data import DataConfig

from .patch_sizes import PatchPlan
from .scan_cache import DecodedScans
from .transforms import RandPairCropd, plain_tensors, standardise_bands

__all__ = ["PatchBatches", "patch_batches", "random_state"]

DRAWS = 200  # planes looked at for one patch before the scans are called empty
AHEAD = 2  # batches drawn before they are asked for
TRIES = 8  # crops of a plane before the next plane is drawn


class PatchBatches(Dataset[dict[str, Tensor]]):
    """Batches by step: LR patches with halo, HR patches without, and guides where the generator takes them.

    A batch has numbered slots, and each slot draws its patch with a random state of its own, so that several
    processes can share a batch: the one of rank ``part[0]`` of ``part[1]`` draws its part of the slots.
    """

    def __init__(
        self,
        scans: DecodedScans,
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
                f"data.batch {data.batch} must be a multiple of the {world} processes; give one that is"
            )
        self.scans = scans
        self.plan = plan
        self.data = data
        self.degradation = degradation
        self.seed = seed
        share = data.batch // world
        self.slots = range(rank * share, (rank + 1) * share)
        self.crops = _make_crops(plan, real=bool(data.lr))
        valid = np.sqrt([float(facts["valid"]) for facts in scans.facts])
        self.chances = np.cumsum(valid / valid.sum())  # large scans more often, but not all the time

    def __len__(self) -> int:
        """Return a bound for samplers; any step has a batch."""
        return 2**31

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return ``lr`` ``(B, C, *(patch + 2 * halo))`` and ``hr`` ``(B, C, *(patch * scale))``.

        Both are ``(x - offset) / unit``; ``offset`` of each band and ``unit`` are returned as well, and for a
        guided generator ``guide`` ``(B, G, *((patch + 2 * halo) * scale))``.
        """
        with plain_tensors():
            planes: dict[tuple[int, int], Mapping[str, Any]] = {}
            patches = [self._draw_patch(step, slot, planes) for slot in self.slots]
        return {key: torch.cat([patch[key] for patch in patches]) for key in patches[0]}

    def _draw_patch(self, step: int, slot: int, planes: dict[tuple[int, int], Any]) -> dict[str, Tensor]:
        """Return the images of one slot, as batches of one."""
        rng = random_state(self.seed, step, slot)
        crop = self._draw_crop(rng, step, slot // self.data.per_plane, planes)
        std = crop["hr_std"]
        lr = crop["lr"] if "lr" in crop else self._make_lr(crop["hr"], rng)
        lr = self._add_noise(lr, std, rng)
        hr = _trim_axes(crop["hr"], self.plan.context)
        offset, unit = self._choose_values(hr, crop["detail"], std)
        patch = {"lr": (lr - offset) / unit, "hr": (hr - offset) / unit, "offset": offset, "unit": unit}
        if "guide" in crop:
            patch["guide"] = standardise_bands(_trim_axes(crop["guide"], self.plan.margin))
        return patch

    def _draw_crop(
        self, rng: np.random.RandomState, step: int, group: int, planes: dict[tuple[int, int], Any]
    ) -> dict[str, Any]:
        """Return a crop, its images as batches of one.

        The slots of a group draw from one plane; where a slot finds nothing there, from the next plane.
        """
        _share_random_state(self.crops, rng)
        was_valid = False
        for attempt in range(DRAWS):
            if (group, attempt) not in planes:
                planes[group, attempt] = self._draw_plane(random_state(self.seed, step, group, attempt))
            plane = planes[group, attempt]
            for _ in range(TRIES):
                crop: Any = dict(plane)
                for transform in self.crops:  # MONAI's Compose would take a tenth of the time
                    crop = transform(crop)
                images = {key: crop[key][None] for key in ("hr", "lr", "guide") if key in crop}
                detail = self._measure_detail(images)
                was_valid = was_valid or detail is not None
                if detail and detail >= rng.random_sample() * self.data.min_detail * plane["hr_std"]:
                    filled = {key: _fill_context(image) for key, image in images.items()}
                    return {**filled, "hr_std": plane["hr_std"], "detail": detail}
        side = "x".join(str(n) for n in self.plan.target)
        raise ConfigError(
            f"no patch in {DRAWS} planes: nearly all of {side} pixels are flat; choose other scans or lower "
            "data.min_detail"
            if was_valid
            else f"no patch in {DRAWS} planes: none of {side} pixels is without nodata; choose other scans "
            "or lower data.patch"
        )

    def _draw_plane(self, rng: np.random.RandomState) -> Mapping[str, Any]:
        """Return a plane of a scan, both drawn."""
        _share_random_state(self.scans.planes.transform.transforms, rng)
        which = int(np.searchsorted(self.chances, rng.random_sample(), side="right"))
        plane: Mapping[str, Any] = self.scans.planes[min(which, len(self.chances) - 1)]
        return plane

    def _measure_detail(self, images: Mapping[str, Tensor]) -> float | None:
        """Return the standard deviation of the HR patch; None where the patch has an invalid pixel."""
        context = {"hr": self.plan.context, "lr": self.plan.halo, "guide": self.plan.context}
        own = {key: _trim_axes(image, context[key]) for key, image in images.items()}
        if not all(math.isfinite(float(image.sum())) for image in own.values()):
            return None
        return float(own["hr"].std())

    def _make_lr(self, hr: Tensor, rng: np.random.RandomState) -> Tensor:
        """Return LR of HR, with a point-spread function and factors that are drawn for the patch."""
        plan = self.plan
        width, thickness = rng.random_sample(2)
        psfs = self.degradation.psfs(len(plan.axes), width=width, thickness=thickness)
        if plan.factors is None:
            edges = [margin(one, s) for one, s in zip(psfs, plan.scale, strict=True)]
            surplus = [m - edge for m, edge in zip(plan.margin, edges, strict=True)]
            return degrade_batch(_trim_axes(hr, surplus), psfs, plan.scale)
        places = rng.random_sample(len(plan.axes))
        if rng.random_sample() < 0.5:  # one factor for all axes, as is mostly asked for
            places[:] = places[0]
        factors = [
            low + (high - low) * place for (low, high), place in zip(plan.factors, places, strict=True)
        ]
        return degrade_any(hr, psfs, factors, plan.margin)

    def _add_noise(self, lr: Tensor, std: float, rng: np.random.RandomState) -> Tensor:
        """Return LR with noise of a strength that is drawn for the patch."""
        degradation = self.degradation
        if degradation.noise == "none":
            return lr
        sigma = rng.uniform(*as_range(degradation.noise_sigma)) * std
        gain = rng.uniform(*as_range(degradation.noise_gain)) * std
        draw = torch.Generator().manual_seed(int(rng.randint(2**31)))
        normal = torch.randn(lr.shape, generator=draw)
        if degradation.noise == "poisson-gaussian":
            signal = (lr - degradation.noise_zero).clamp(min=0)
            return lr + (gain * signal + sigma**2).sqrt() * normal
        if degradation.noise == "gaussian":
            return lr + sigma * normal
        return torch.hypot(lr + sigma * normal, sigma * torch.randn(lr.shape, generator=draw))

    def _choose_values(self, hr: Tensor, own: float, std: float) -> tuple[Tensor, Tensor]:
        """Return offset and unit of a patch: those of the generator, or its mean and a mixed deviation."""
        offset = hr.mean(tuple(range(2, hr.ndim)), keepdim=True)
        if self.plan.fixed_values is not None:
            fixed, scale = self.plan.fixed_values
            return torch.full_like(offset, fixed), torch.full_like(offset[:, :1], scale)
        unit = own**self.data.patch_weight * std ** (1 - self.data.patch_weight)
        return offset, torch.full_like(offset[:, :1], unit)


def random_state(*numbers: int) -> np.random.RandomState:
    """Return a random state, as MONAI wants it, that follows from some numbers."""
    return np.random.RandomState(np.random.PCG64(numbers))  # seeded ten times as fast as the usual one


def _share_random_state(transforms: Sequence[Any], rng: np.random.RandomState) -> None:
    """Let all random transforms draw from one random state."""
    for transform in transforms:
        if isinstance(transform, Randomizable):
            transform.set_random_state(state=rng)


def _make_crops(plan: PatchPlan, *, real: bool) -> list[Any]:
    """Return the random transforms from a plane to a patch with context, the same for all its images."""
    fine = ["hr", *(["guide"] if plan.guide_channels else [])]
    window = [p + 2 * h for p, h in zip(plan.patch, plan.halo, strict=True)]
    crop = (
        RandPairCropd(fine, scale=plan.scale, size=window)
        if real
        else RandSpatialCropd(fine, plan.crop, random_size=False)
    )
    keys = [*fine, *(["lr"] if real else [])]
    square = plan.axes == ("y", "x") and len(set(plan.crop)) == len(set(plan.scale)) == 1
    flipped = (0,) if square else range(len(plan.axes))  # one flip and the rotations make all eight
    return [
        crop,
        *(RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in flipped),
        *([RandRotate90d(keys, prob=0.75, max_k=3)] if square else []),
    ]


def patch_batches(source: PatchBatches, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of steps `start` to `stop`, each drawn while the one before is in use.

    They are drawn by the worker processes of the settings, or by one thread.
    """
    steps = range(start, stop)
    pinned = torch.cuda.is_available()
    if source.data.workers:
        loader = DataLoader(
            Subset(source, steps), batch_size=None, num_workers=source.data.workers, pin_memory=pinned
        )
        yield from loader
        return
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(source.__getitem__, step) for step in steps[:AHEAD])
        for step in range(start + AHEAD, stop + AHEAD):
            batch = waiting.popleft().result()
            if step < stop:
                waiting.append(thread.submit(source.__getitem__, step))
            yield {key: value.pin_memory() for key, value in batch.items()} if pinned else batch


def _fill_context(images: Tensor) -> Tensor:
    """Return images with invalid pixels filled from the nearest valid ones of their band, as in inference."""
    if math.isfinite(float(images.sum())):
        return images
    bands = images.flatten(0, 1).numpy()
    return torch.from_numpy(fill_bands(bands)).reshape(images.shape)


def _trim_axes(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Return pixels without `widths` of them on both sides of every spatial axis."""
    for axis, width in enumerate(widths):
        x = x.narrow(2 + axis, width, x.shape[2 + axis] - 2 * width)
    return x
