"""A training run that needs nothing but one scan: what it shows finely teaches what it shows coarsely."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_cdt

from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.errors import ConfigError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.pixel_spacing import THICK, has_thick_slices, spacing
from sr_imaging.io import find_scans, read
from sr_imaging.models.model_file import load_model
from sr_imaging.networks import PLANE_AXES
from sr_imaging.training.config.data import DataConfig, ModelConfig
from sr_imaging.training.config.phases import LoopConfig, PixelConfig, ScheduleConfig
from sr_imaging.training.config.run import TrainConfig

__all__ = ["self_config"]

_STEPS = 600  # minutes on a laptop
_NETWORK = {"channels": 32, "blocks": 4}  # as the bundled models, so that training can start from them
_RATES = {True: 3e-4, False: 1e-3}  # from a bundled model, and from fresh weights
_HELD_OUT = 0.1  # of the scan, for validation
_ROOM = 2 / 3  # of the largest square without nodata: the side that a patch may have, so that it can move
_LOOKED_AT = 16  # planes of a volume
_CT = (-1024.0, 3071.0)  # HU: what twelve bits hold


def self_config(
    scan: str | os.PathLike[str],
    *,
    name: str = "",
    output: str | os.PathLike[str] = "runs",
    steps: int = _STEPS,
    seed: int = 0,
) -> TrainConfig:
    """Return the settings that train a model for one scan on nothing but that scan.

    A volume of thick slices gives a through-plane model: detail in the plane, degraded as the slices degrade
    it, teaches what is lost along z. A raster gives a model of scale 2: the scan teaches what its own
    down-sampling has lost. Training starts from the bundled model of that kind where its scale fits.

    Parameters
    ----------
    scan : path
        A file, or a folder that holds one DICOM series.
    name : str
        Name of the model; that of the scan and ``-self`` by default.
    output : path
        Folder for the files of the run.
    steps : int
        Length of the run.
    seed : int
        As in :class:`~sr_imaging.training.config.run.TrainConfig`.

    Returns
    -------
    TrainConfig
        For :func:`sr_imaging.train`; change it with `dataclasses.replace`.

    Raises
    ------
    ConfigError
        If the path holds several scans, or the scan has nothing to teach: its voxels are even, or too few. If
        it is a PNG or JPEG image, which `sr-imaging upscale` does not take.
    ReadError
        If it cannot be read.

    References
    ----------
    A. Shocher, N. Cohen, M. Irani, "Zero-shot super-resolution using deep internal learning", CVPR 2018.
    C. Zhao et al., "SMORE: a self-supervised anti-aliasing and super-resolution algorithm for MRI using deep
    learning", IEEE TMI 40, 2021 (in-plane detail for through-plane).
    """
    good = [one for one in find_scans(scan, images=True) if one.verdict.ok]
    if len(good) > 1:
        raise ConfigError(f"{scan} holds {len(good)} scans; name one file, or a folder with one series")
    if good and good[0].kind == "image":
        raise ConfigError(
            f"{scan} is a photograph, which sr-imaging upscale does not take; store it as GeoTIFF first, "
            "sr_imaging.write(sr_imaging.read(image), 'image.tif'), or train on many by a TOML file"
        )
    da = read(good[0] if good else scan, masked=True)
    make = _choose_volume_settings if len(spatial_dims(da)) == 3 else _choose_raster_settings
    parts = make(da, str(Path(scan).resolve()))
    stem = Path(scan).resolve().name.split(".")[0]
    return TrainConfig(
        name=name or f"{stem}-self",
        output=str(output),
        seed=seed,
        data_sources=("the scan itself",),
        pixel=PixelConfig(
            steps=steps,
            rate=_RATES[bool(parts["model"].start)],
            schedule=ScheduleConfig(warmup=min(50, steps // 4)),
        ),
        loop=LoopConfig(ema=0.99, validate_every=max(1, steps // 4), checkpoint_every=max(1, steps // 2)),
        **parts,
    )


def _choose_volume_settings(da: Any, path: str) -> dict[str, Any]:
    """Return the settings for a volume of thick slices."""
    dims = spatial_dims(da)
    steps = [spacing(da).get(dim, 1.0) for dim in dims.values()]
    plane = (steps[1] + steps[2]) / 2
    k = round(steps[0] / plane)
    if not has_thick_slices(steps[0], plane, plane) or k < 2:
        raise ConfigError(
            f"the slices of {path} are {steps[0]:.3g} mm apart and its pixels {plane:.3g} mm, less than "
            f"{THICK:g} times as fine; a scan that is fine everywhere has nothing to teach"
        )
    reference = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
    modality = str(reference.get("modality", ""))
    side = _find_patch_room(da)
    patch = (min(24, side // k), min(64, side))
    if patch[0] < 4:
        raise ConfigError(
            f"the planes of {path} show {side} pixels without nodata, fewer than the 4 times {k} of a patch; "
            "train on more scans"
        )
    thickness = round(float(reference.get("slice_thickness", steps[0])) / steps[0], 3)
    start = {"CT": "ct-through-x4"}.get(modality, "mr-through-x4")
    return {
        "data": DataConfig(
            train=(path,),
            patch=patch,
            batch=8,
            held_out=_HELD_OUT if da.sizes[dims["z"]] * _HELD_OUT >= 1 else 0.0,
            clip=_CT if modality == "CT" else None,
            nan="nodata",
            own=True,
        ),
        "model": _choose_model((k, 1), start, PLANE_AXES),
        "degradation": DegradationConfig(psf="box", thickness=min(max(thickness, 0.1), 3.0)),
        "modality": modality,
        "description": f"one volume of slices {steps[0]:.3g} mm apart, {k} times as fine",
    }


def _choose_raster_settings(da: Any, path: str) -> dict[str, Any]:
    """Return the settings for a raster."""
    side = _find_patch_room(da)
    if side < 16:
        raise ConfigError(
            f"{path} shows {side} pixels without nodata along one axis; a scan of 16 or more can teach"
        )
    return {
        "data": DataConfig(
            train=(path,),
            patch=min(64, side // 2),
            batch=8,
            held_out=_HELD_OUT if side >= 160 else 0.0,
            nan="nodata",
            own=True,
        ),
        "model": _choose_model((2, 2), "raster-x2", ("y", "x")),
        "degradation": DegradationConfig(),
        "modality": "raster",
        "description": "one raster, twice as fine in y and x",
    }


def _find_patch_room(da: Any) -> int:
    """Return the pixels that a patch may span: the side of a plane, or less where nodata leaves less."""
    plane = [*spatial_dims(da).values()][-2:]
    shape = tuple(da.sizes[dim] for dim in plane)
    valid = np.isfinite(da.transpose(..., *plane).values).reshape(-1, *shape)
    found = 0
    for number in np.linspace(0, len(valid) - 1, min(len(valid), _LOOKED_AT)).round().astype(int):
        if valid[number].all():
            return int(min(shape))
        found = max(found, int(distance_transform_cdt(np.pad(valid[number], 1), metric="chessboard").max()))
    return int((2 * found - 1) * _ROOM)


def _choose_model(scale: tuple[int, int], start: str, axes: tuple[str, ...]) -> ModelConfig:
    """Return the generator, started from the bundled model if that has its scale."""
    arguments = {"scale": scale, "axes": axes, **_NETWORK}
    known: Any = load_model(start)
    fits = tuple(known.scale) == scale
    return ModelConfig("srresnet", arguments, start=start if fits else "")
