"""Validation during training: held-out images, and PSNR and SSIM of a generator beside cubic."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sr_imaging.degradation.psf import Psf, margin
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.degradation.tensors import degrade_any, degrade_batch
from sr_imaging.evaluation.metrics.pixels import data_range, psnr, ssim
from sr_imaging.image.pixels.fill import fill_bands
from sr_imaging.networks import build_generator, replicate
from sr_imaging.networks.whole_image import upscale_image
from sr_imaging.training.config.data import DataConfig
from sr_imaging.training.data.loading import LoadScand
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.data.scan_cache import check_bands, check_units
from sr_imaging.training.data.transforms import item_views, standardise_bands, take_plane
from sr_imaging.training.distributed import ALONE, Team

__all__ = ["HeldOut", "held_out_images", "judge"]

SIDE = {2: 256, 3: 96}  # HR pixels: largest side of a validation image by number of axes


@dataclass(frozen=True)
class HeldOut:
    """An image that is not trained on, in values shifted and scaled as those of patches."""

    lr: Tensor  # (1, C, *n), without halo
    hr: np.ndarray  # (C, *(n * scale))
    valid: np.ndarray  # bool, of the shape of `hr`
    range: float  # data range for PSNR and SSIM
    cubic: tuple[float, float]  # PSNR in dB and SSIM of cubic interpolation
    scale: tuple[int, ...]
    guide: Tensor | None = None  # (1, G, *(n * scale))


def held_out_images(
    train: Sequence[Any],
    validation: Sequence[Any],
    *,
    data: DataConfig,
    plan: PatchPlan,
    degradation: DegradationConfig,
    units: Mapping[str, Any] | None = None,
) -> list[HeldOut]:
    """Return validation images cut from whole held-out scans and from the held-out part of training scans.

    They are at most ``data.validation_images``, spread over the scans, degraded at the middle of the ranges
    without noise; none where nothing is held out, or what is held out is too small, flat or invalid. Raises
    `ConfigError` if a held-out scan has other bands than the model takes, another unit than those of training
    (`units`), or values that are not declared.
    """
    jobs = [(scan, (0.0, 1.0)) for scan in validation]
    if data.held_out > 0:
        jobs += [(scan, (1.0 - data.held_out, 1.0)) for scan in train]
    if len(jobs) > data.validation_images:
        jobs = [jobs[k] for k in np.linspace(0, len(jobs) - 1, data.validation_images).round().astype(int)]
    psfs = degradation.psfs(len(plan.axes))
    images: list[HeldOut] = []
    for number, (scan, kept) in enumerate(jobs):
        share = (data.validation_images - len(images)) // (len(jobs) - number)
        load = LoadScand("hr", clip=data.clip, kept=kept, nan=data.nan, max_shift=data.max_shift)
        item = load({"hr": scan})
        check_bands(scan, item, plan)
        check_units(units or {}, [scan], [item["hr_facts"]])
        planes = _choose_planes(item, plan, share)
        images += [image for plane in planes if (image := _cut_held_out(plane, plan, psfs)) is not None]
    return images


def _choose_planes(item: Mapping[Hashable, Any], plan: PatchPlan, count: int) -> list[dict[str, Tensor]]:
    """Return up to `count` different images of a scan, with their partners, spread evenly over it."""
    smallest = [4 * s for s in plan.scale]
    options = item_views(item, "hr", axes=plan.axes, scale=plan.scale, least=smallest)
    shape, channels = item["hr"].shape[1:], item["hr"].shape[0]
    chosen: dict[tuple[Any, ...], dict[str, Tensor]] = {}
    for k in range(count if options else 0):
        view = options[k % len(options)]
        index = {a: int((k + 0.5) / count * size) for a, size in enumerate(shape) if a not in view}
        channel = k % channels if plan.in_channels == 1 else None
        own = {"hr": channel, "lr": channel, "guide": None}
        chosen[view, channel, *index.values()] = {
            key: take_plane(item[key], view, band, index) for key, band in own.items() if key in item
        }
    return list(chosen.values())


def _cut_held_out(plane: Mapping[str, Tensor], plan: PatchPlan, psfs: Sequence[Psf]) -> HeldOut | None:
    """Return the middle of a plane and its LR image; None where it is constant or half nodata."""
    images = _cut_middle(plane, plan.scale)
    values = images["hr"].numpy()
    valid = np.isfinite(values)
    if valid.mean() < 0.5 or values[valid].std() == 0:
        return None
    offset, unit = plan.fixed_values or (values[valid].mean(), values[valid].std())
    hr = (fill_bands(values) - np.float32(offset)) / np.float32(unit)
    if "lr" in images:
        coarse = images["lr"].numpy()
        lr = torch.from_numpy((fill_bands(coarse) - offset) / unit).float()[None]
    else:
        lr = _make_lr(torch.from_numpy(hr)[None], plan, psfs)
    span = data_range(hr, valid=valid)
    if span == 0:
        return None
    cubic = build_generator("cubic", {"scale": plan.scale, "axes": plan.axes})
    figures = _measure_figures(upscale_image(cubic, lr), hr, valid, span)
    return HeldOut(lr, hr, valid, span, figures, plan.scale, _normalise_guide(images))


def _cut_middle(plane: Mapping[str, Tensor], scale: Sequence[int]) -> dict[str, Tensor]:
    """Return the middle of all images of a plane, on whole LR pixels."""
    images = dict(plane)
    for axis, s in enumerate(scale):
        coarse = plane["hr"].shape[1 + axis] // s
        length = min(coarse, max(1, SIDE[len(scale)] // s))
        start = (coarse - length) // 2
        for key, image in images.items():
            factor = 1 if key == "lr" else s
            images[key] = image.narrow(1 + axis, start * factor, length * factor)
    return images


def _make_lr(hr: Tensor, plan: PatchPlan, psfs: Sequence[Psf]) -> Tensor:
    """Return LR with replicated borders, at the middle of the factors that the generator takes."""
    if plan.factors is None:
        border = [margin(psf, s) for psf, s in zip(psfs, plan.scale, strict=True)]
        return degrade_batch(replicate(hr, [(width,) * 2 for width in border]), psfs, plan.scale)
    factors = [(low + high) / 2 for low, high in plan.factors]
    return degrade_any(replicate(hr, [(width,) * 2 for width in plan.margin]), psfs, factors, plan.margin)


def _normalise_guide(images: Mapping[str, Tensor]) -> Tensor | None:
    """Return the guide as patches have it: every band without mean, of variance 1."""
    if "guide" not in images:
        return None
    return standardise_bands(torch.from_numpy(fill_bands(images["guide"].numpy()))[None])


def _measure_figures(sr: np.ndarray, hr: np.ndarray, valid: np.ndarray, span: float) -> tuple[float, float]:
    """Return PSNR in dB, and SSIM as the mean over bands that are valid and large enough, or NaN."""
    similar = []
    for band in range(len(hr)):
        window = min(7, min(hr.shape[1:]) // 2 * 2 - 1)
        if valid[band].all() and window >= 3:
            similar.append(ssim(sr[band], hr[band], data_range=span, window=window))
    return psnr(sr, hr, data_range=span, valid=valid), float(np.mean(similar)) if similar else float("nan")


def judge(
    generator: nn.Module, images: Sequence[HeldOut], device: torch.device, *, team: Team = ALONE
) -> dict[str, float]:
    """Return mean figures of a generator over held-out images, the same in each process that shares them.

    They are ``psnr`` and ``psnr_cubic`` in dB, ``ssim`` and ``ssim_cubic``.
    """
    training = generator.training
    generator.eval()
    own = torch.zeros(len(images), 2, dtype=torch.float64)
    for number in range(team.rank, len(images), team.world):
        image = images[number]
        sr = upscale_image(generator, image.lr.to(device), guide=image.guide)
        figures = _measure_figures(sr, image.hr, image.valid, image.range)
        own[number] = torch.tensor(figures, dtype=torch.float64)
    generator.train(training)
    own = team.sum(own)
    cubic = torch.tensor([image.cubic for image in images], dtype=torch.float64)
    return {
        "psnr": float(own[:, 0].mean()),
        "psnr_cubic": float(cubic[:, 0].mean()),
        "ssim": float(own[:, 1].nanmean()),
        "ssim_cubic": float(cubic[:, 1].nanmean()),
    }
