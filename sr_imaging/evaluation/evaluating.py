"""How good a model is on scans: each is degraded, super-resolved, and compared with what it was."""

import logging
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sr_imaging.degradation.arrays import degrade
from sr_imaging.degradation.noise import NOISELESS, Noise
from sr_imaging.degradation.settings import DegradationConfig, as_range, describe
from sr_imaging.errors import ConfigError, GridError
from sr_imaging.evaluation.figures.drawing import Row as PictureRow
from sr_imaging.evaluation.figures.drawing import check_matplotlib, draw
from sr_imaging.evaluation.figures.exhibit import case_rows
from sr_imaging.evaluation.metrics.pixels import data_range
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.pixels.fill import fill_nearest
from sr_imaging.inference.upscaling import upscale
from sr_imaging.models.discriminator_file import load_discriminator
from sr_imaging.models.model_file import load_model
from sr_imaging.networks import CLASSICAL, check_generator
from sr_imaging.networks.device import pick_device
from sr_imaging.networks.whole_image import upscale_image

from .comparison import Case, compare, discriminator_shares
from .originals import Trial, trials
from .reading import align_grids, read_with_guides
from .report import Report, Row

__all__ = ["evaluate"]

log = logging.getLogger(__name__)
_DRAWN = 16  # trials in a figure


def evaluate(
    model: str | os.PathLike[str] | torch.nn.Module,
    scans: Any,
    *,
    scale: float | Sequence[float] | None = None,
    degradation: DegradationConfig | None = None,
    guides: Any = None,
    discriminator: str | os.PathLike[str] | torch.nn.Module | None = None,
    figure: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Report:
    """Measure a model on scans of full resolution, and cubic interpolation on the same pixels.

    Every scan is made coarser, super-resolved, and compared with what it was, over the pixels that are valid
    in all. A through-plane model is measured with each fine axis of a volume playing z; where the other axes
    are not all fine, on the fine planes alone. One scan is in memory at a time.

    Parameters
    ----------
    model : str, path or Generator
        Bundled name, model file, classical method, or a module with the facts of a generator.
    scans : path, Scan, DataArray, or a list of them
        The originals; folders are searched. PNG and JPEG images count as in training: where they are named,
        and in folders that hold no other scan.
    scale : number or tuple, optional
        Of a classical method or of a model for any factor; a number stands for y and x, or
        for all axes that a model for any factor refines.
    degradation : DegradationConfig, optional
        How LR is made, in the words of a training file; ranges are taken at their middle. By default as
        :func:`sr_imaging.degrade` does: box along z, Gaussian of 0.4 LR pixels along y and x, no noise.
    guides : path, Scan, DataArray, or a list of them, optional
        Second images that a guided model takes, one for each scan in the same order: on the grid of the
        original, or finer; then their area mean over its pixels is taken, as in training.
    discriminator : path or nn.Module, optional
        Saved with a GAN-trained model as ``NAME-gan.discriminator.safetensors``, to measure how often it
        distinguishes results from originals.
    figure : path, optional
        PNG to draw: crops, error maps and the Fourier correlation of up to 16 trials; needs matplotlib.
    seed : int
        Of the noise of the degradation, and of a stochastic model.
    device : str
        As in :func:`sr_imaging.upscale`.

    Returns
    -------
    Report
        With ``rows``, ``mean``, ``to_json()`` and ``table()``.

    Raises
    ------
    ConfigError
        If there is nothing to measure, `scale` is missing or not for this model, there is not one guide for
        each scan, or the discriminator is for other patches.
    GridError
        If a scan does not have the axes that the model works on, or is constant or invalid throughout.
    ModelError
        If there is no such model or discriminator, or the model does not do what is asked.
    """
    generator, name = _load_generator(model, scale)
    factors = _choose_factors(generator, name, scale)
    _check_guides(generator, name, guides)
    judge: Any = discriminator
    if isinstance(discriminator, str | os.PathLike):
        judge = load_discriminator(discriminator)
    if figure is not None:
        check_matplotlib()
    test = _Test(generator, factors, degradation, judge, seed, device)
    rows: list[Row] = []
    pictures: list[PictureRow] = []
    for label, da, guide in read_with_guides(scans, guides):
        whole, second = align_grids(da.astype(np.float32), guide)
        for trial in trials(label, whole, axes=generator.axes, scale=factors, guide=second):
            log.info("%s, %s", trial.scan, trial.axes)
            row, case = _measure_trial(trial, test)
            rows.append(row)
            if figure is not None and len(pictures) < 2 * _DRAWN:
                pictures += case_rows(case, row, name)
    if not rows:
        raise ConfigError("there are no readable scans to evaluate on; give files or folders")
    if figure is not None:
        draw(pictures, Path(figure))
    return Report(name, factors, _describe_degradation(degradation, generator.axes), tuple(rows))


@dataclass(frozen=True)
class _Test:
    """What every scan is put through."""

    generator: Any
    factors: tuple[float, ...]
    degradation: DegradationConfig | None
    discriminator: Any
    seed: int
    device: str


def _load_generator(model: Any, scale: float | Sequence[float] | None) -> tuple[Any, str]:
    """Return the module and its name."""
    if isinstance(model, str | os.PathLike):
        if model in CLASSICAL and scale is None:
            raise ConfigError(f"the method {model!r} has no scale of its own; give for example scale=2")
        numbers = (scale, scale) if isinstance(scale, int | float) else scale
        loaded: Any = load_model(model, scale=numbers if model in CLASSICAL else None)
        return loaded, loaded.card.name
    check_generator(model)
    card = getattr(model, "card", None)
    return model, type(model).__name__ if card is None else card.name


def _choose_factors(generator: Any, name: str, scale: float | Sequence[float] | None) -> tuple[float, ...]:
    """Return the HR pixels per LR pixel of each axis of the model."""
    own: tuple[float, ...] = tuple(generator.scale)
    asked = own if scale is None else (scale,) * len(own) if isinstance(scale, int | float) else tuple(scale)
    spans = getattr(generator, "scale_range", None)
    if spans is None:
        if asked != own:
            raise ConfigError(f"{name} has a scale of its own, {own}, not {scale}; leave scale out")
        return own
    if scale is None:
        raise ConfigError(f"{name} does any factor of {spans}; give for example scale=2")
    if len(asked) != len(own):
        raise ConfigError(f"scale {scale} must have one number for each of {len(own)} axes; give {len(own)}")
    if isinstance(scale, int | float):
        return tuple(1.0 if tuple(span) == (1, 1) else s for s, span in zip(asked, spans, strict=True))
    return asked


def _check_guides(generator: Any, name: str, guides: Any) -> None:
    """Raise where a guide is missing or has no use."""
    takes = getattr(generator, "guide_channels", 0) > 0
    if takes and guides is None:
        raise ConfigError(f"{name} takes a guide with each scan; give guides")
    if guides is not None and not takes:
        raise ConfigError(f"{name} takes no guide; leave guides out")


def _measure_trial(trial: Trial, test: _Test) -> tuple[Row, Case]:
    """Return the figures of a trial, and the images that they are of."""
    profiles = None
    if test.degradation is not None:
        axes = dict(zip(test.generator.axes, test.degradation.psfs(len(test.factors)), strict=True))
        dims = spatial_dims(trial.hr)
        profiles = {dims[axis]: psf for axis, psf in axes.items() if dims.get(axis) in trial.factors}
    noise = _make_noise(test.degradation, trial.hr.values)
    lr = degrade(trial.hr, trial.factors, psf=profiles, noise=noise, seed=test.seed)
    case = _super_resolve(trial, lr, test)
    again = {name: degrade(da, trial.factors, psf=profiles) for name, da in case.results.items()}
    row = compare(case, again)
    if test.discriminator is not None:
        right = discriminator_shares(case, test.generator, test.discriminator, pick_device(test.device))
        shares: dict[str, Any] = {f"accuracy_{name}": share for name, share in right.items()}
        row = replace(row, **shares)
    return row, case


def _super_resolve(trial: Trial, lr: xr.DataArray, test: _Test) -> Case:
    """Super-resolve and interpolate a coarse scan, and find the pixels to compare."""
    factors = {dim: float(s) for dim, s in trial.factors.items()}
    window = {dim: slice(0, round(lr.sizes[dim] * s)) for dim, s in factors.items()}
    hr = trial.hr.isel(window)
    cubic = upscale(lr, "cubic", scale=factors)
    guide = None if trial.guide is None else trial.guide.isel(window)
    if trial.planes:
        second = None if guide is None else guide.values
        sr = hr.copy(data=_upscale_planes(test.generator, lr.values, second, pick_device(test.device)))
    else:
        scale = None if getattr(test.generator, "scale_range", None) is None else factors
        sr = upscale(lr, test.generator, scale=scale, guide=guide, seed=test.seed, device=test.device)
    valid = np.isfinite(hr.values) & np.isfinite(sr.values) & np.isfinite(cubic.values)
    span = data_range(hr.values, valid=valid) if valid.any() else 0.0
    if span == 0:
        raise GridError(f"{trial.scan} is constant or invalid throughout; leave it out")
    return Case(trial, lr, hr, {"sr": sr, "cubic": cubic}, valid, span)


def _make_noise(degradation: DegradationConfig | None, hr: np.ndarray) -> Noise:
    """Return the noise of a scan, its strength given as a fraction of the scan's standard deviation."""
    if degradation is None or degradation.noise == "none":
        return NOISELESS
    spread = float(np.std(hr[np.isfinite(hr)], dtype=np.float64))
    sigma, gain = (
        sum(as_range(value)) / 2 * spread for value in (degradation.noise_sigma, degradation.noise_gain)
    )
    return Noise(degradation.noise, sigma, gain=gain, zero=degradation.noise_zero)


def _upscale_planes(generator: Any, lr: np.ndarray, guide: np.ndarray | None, device: str) -> np.ndarray:
    """Super-resolve the (z, x) planes of a volume, one at a time."""
    generator = deepcopy(generator).to(device).eval()  # the caller's own stays where and as it is
    out = []
    for k in range(lr.shape[1]):
        plane, second = lr[:, k], None if guide is None else guide[:, k]
        if not all(np.isfinite(one).any() for one in (plane, second) if one is not None):
            out.append(np.full((round(plane.shape[0] * generator.scale[0]), plane.shape[1]), np.nan))
            continue
        image, offset, unit = _to_batch(plane, generator.fixed_values)
        seen = None if second is None else _to_batch(second, None)[0].to(device)
        out.append(upscale_image(generator, image.to(device), guide=seen)[0] * unit + offset)
    return np.stack(out, axis=1)


def _to_batch(plane: np.ndarray, fixed_values: tuple[float, float] | None) -> tuple[Tensor, float, float]:
    """Return a plane as a batch of one, and the offset and the unit that its values were freed of."""
    filled = fill_nearest(plane, ~np.isfinite(plane))
    offset, unit = fixed_values or (float(filled.mean()), float(filled.std()) or 1.0)
    return torch.from_numpy((filled - offset) / unit).float()[None, None], offset, unit


def _describe_degradation(degradation: DegradationConfig | None, axes: Sequence[str]) -> str:
    """Return words on how LR was made."""
    if degradation is not None:
        return describe(degradation)
    psf = {"z": "box along z", "y": "Gaussian of 0.4 LR pixels along y and x"}
    return f"{', '.join(words for axis, words in psf.items() if axis in axes)}, then area mean"
