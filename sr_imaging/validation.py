"""Validation during training: held-out images, and PSNR and SSIM of a generator beside cubic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from .config import DataConfig, DegradationConfig, as_range
from .degradation import Psf, margin
from .distributed import ALONE, Team
from .metrics import data_range, psnr, ssim
from .networks import build_generator, replicate
from .patches import PatchPlan
from .transforms import LoadScand, degrade_batch, take_plane, views

__all__ = ["HeldOut", "fill_invalid", "held_out_images", "judge", "upscale_image"]

SIDE = {2: 256, 3: 96}  # HR pixels: largest side of a validation image by number of axes


@dataclass(frozen=True)
class HeldOut:
    """An image that is not trained on.

    Parameters
    ----------
    lr : (1, C, *n) Tensor
        Degraded image without halo, shifted and scaled as patches are.
    hr : (C, *(n * scale)) ndarray
        Truth in the same values.
    valid : (C, *(n * scale)) bool ndarray
        Pixels that count.
    range : float
        Data range for PSNR and SSIM.
    cubic : (float, float)
        PSNR in dB and SSIM of cubic interpolation.
    scale : tuple of int
        HR pixels per LR pixel.
    guide : (1, G, *(n * scale)) Tensor, optional
        Second input of a guided generator.
    """

    lr: Tensor
    hr: np.ndarray
    valid: np.ndarray
    range: float
    cubic: tuple[float, float]
    scale: tuple[int, ...]
    guide: Tensor | None = None


def held_out_images(
    train: Sequence[Any],
    validation: Sequence[Any],
    *,
    data: DataConfig,
    plan: PatchPlan,
    degradation: DegradationConfig,
) -> list[HeldOut]:
    """Cut validation images from whole held-out scans and from the held-out part of training scans.

    Parameters
    ----------
    train, validation : sequence of Scan or path
        Scans of both kinds.
    data, plan, degradation
        As in training; ranges of the degradation are taken at their middle, without noise.

    Returns
    -------
    list of HeldOut
        At most ``data.validation_images``, spread over the scans; none where nothing is held out.
    """
    jobs = [(scan, (0.0, 1.0)) for scan in validation]
    if data.held_out > 0:
        jobs += [(scan, (1.0 - data.held_out, 1.0)) for scan in train]
    if len(jobs) > data.validation_images:
        jobs = [jobs[k] for k in np.linspace(0, len(jobs) - 1, data.validation_images).round().astype(int)]
    psf = Psf(degradation.psf, sum(as_range(degradation.sigma)) / 2)
    images: list[HeldOut] = []
    for number, (scan, kept) in enumerate(jobs):
        share = (data.validation_images - len(images)) // (len(jobs) - number)
        load = LoadScand("hr", clip=data.clip, kept=kept)
        item = load({"hr": scan})
        planes = _planes(item["hr"], item["hr_facts"]["spacing"], plan, share)
        images += [image for plane in planes if (image := _held_out(plane, plan, psf)) is not None]
    return images


def _planes(scan: Tensor, spacing: Sequence[float], plan: PatchPlan, count: int) -> list[Tensor]:
    """Up to `count` images of a scan, spread evenly over its views, channels and positions."""
    smallest = [4 * s for s in plan.scale]
    options = views(spacing, plan.axes, shape=scan.shape[1:], least=smallest)
    if not options:
        return []
    planes = []
    for k in range(count):
        place = (k + 0.5) / count
        index = {axis: int(place * size) for axis, size in enumerate(scan.shape[1:])}
        channel = k % scan.shape[0] if plan.in_channels == 1 else None
        planes.append(take_plane(scan, options[k % len(options)], channel, index))
    return planes


def _held_out(plane: Tensor, plan: PatchPlan, psf: Psf) -> HeldOut | None:
    """Degrade the middle of a plane; None where it is constant or all nodata."""
    side = SIDE[len(plan.axes)]
    for axis, s in enumerate(plan.scale):
        size = plane.shape[1 + axis]
        length = min(size, side) // s * s
        plane = plane.narrow(1 + axis, (size - length) // 2, length)
    values = plane.numpy()
    valid = np.isfinite(values)
    if valid.mean() < 0.5 or values[valid].std() == 0:
        return None
    values = fill_invalid(values, valid)
    offset, unit = plan.fixed_values or (values[valid].mean(), values[valid].std())
    hr = (values - np.float32(offset)) / np.float32(unit)
    border = [(margin(psf, s),) * 2 for s in plan.scale]
    lr = degrade_batch(replicate(torch.from_numpy(hr)[None], border), psf, plan.scale)
    span = data_range(hr, valid=valid)
    if span == 0:
        return None
    cubic = build_generator("cubic", {"scale": plan.scale, "axes": plan.axes})
    return HeldOut(lr, hr, valid, span, _figures(upscale_image(cubic, lr), hr, valid, span), plan.scale)


def fill_invalid(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Replace invalid pixels by their nearest valid ones."""
    if valid.all():
        return values
    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])


def upscale_image(generator: Any, lr: Tensor, *, guide: Tensor | None = None) -> np.ndarray:
    """Super-resolve one small image whole.

    Parameters
    ----------
    generator : Generator
        In evaluation mode.
    lr : (1, C, *n) Tensor
        Image without halo, on the device of the generator; its border is replicated.
    guide : (1, G, *(n * scale)) Tensor, optional
        Second input of a guided generator, treated alike.

    Returns
    -------
    (C, *(n * scale)) float32 ndarray
        On the CPU.
    """
    halo = generator.halo or (0,) * generator.spatial_dims
    inputs = [replicate(lr, [(width, width) for width in halo])]
    if guide is not None:
        wide = [width * s for width, s in zip(halo, generator.scale, strict=True)]
        inputs.append(replicate(guide.to(lr.device), [(width, width) for width in wide]))
    with torch.inference_mode():
        sr: Tensor = generator(*inputs)
    return np.asarray(sr[0].float().cpu().numpy())


def _figures(sr: np.ndarray, hr: np.ndarray, valid: np.ndarray, span: float) -> tuple[float, float]:
    """PSNR, and SSIM as the mean over bands (NaN where an image is too small or has too much nodata)."""
    similar = []
    for band in range(len(hr)):
        window = min(7, min(hr.shape[1:]) // 2 * 2 - 1)
        if valid[band].all() and window >= 3:
            similar.append(ssim(sr[band], hr[band], data_range=span, window=window))
    return psnr(sr, hr, data_range=span, valid=valid), float(np.mean(similar)) if similar else float("nan")


def judge(
    generator: nn.Module, images: Sequence[HeldOut], device: torch.device, *, team: Team = ALONE
) -> dict[str, float]:
    """Return mean figures of a generator over held-out images, beside those of cubic.

    Parameters
    ----------
    generator : Generator
        On `device`; put into evaluation mode and back.
    images : sequence of HeldOut
        At least one.
    device : torch.device
        Where to run.
    team : Team
        Processes that share the images; each returns the figures of all.

    Returns
    -------
    dict
        ``psnr``, ``psnr_cubic`` in dB, ``ssim``, ``ssim_cubic``.
    """
    training = generator.training
    generator.eval()
    own = torch.zeros(len(images), 2, dtype=torch.float64)
    for number in range(team.rank, len(images), team.world):
        image = images[number]
        sr = upscale_image(generator, image.lr.to(device), guide=image.guide)
        own[number] = torch.tensor(_figures(sr, image.hr, image.valid, image.range), dtype=torch.float64)
    generator.train(training)
    own = team.sum(own)
    cubic = torch.tensor([image.cubic for image in images], dtype=torch.float64)
    return {
        "psnr": float(own[:, 0].mean()),
        "psnr_cubic": float(cubic[:, 0].mean()),
        "ssim": float(own[:, 1].nanmean()),
        "ssim_cubic": float(cubic[:, 1].nanmean()),
    }
