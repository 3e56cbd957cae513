"""What an array says of how it was made: one history line, the model and its hash, the scale."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import xarray as xr

from sr_imaging import __version__
from sr_imaging.image.grid.axes import spatial_dims

_PLAIN = (bool, int, float, str, tuple, list, type(None))

__all__ = ["Facts", "model_sha256", "with_provenance"]


def model_sha256(module: Any) -> str:
    """Return the hash of a model file, or of the classes, settings and weights of a module without one."""
    card = getattr(module, "card", None)
    if card is not None and card.sha256:
        return str(card.sha256)
    digest = hashlib.sha256()
    for path, part in module.named_modules():
        settings = {key: value for key, value in vars(part).items() if isinstance(value, _PLAIN)}
        settings.pop("training", None)
        digest.update(f"{path} {type(part).__module__}.{type(part).__qualname__} {settings}".encode())
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Facts:
    """What made a result."""

    name: str  # of the model
    sha256: str  # of the model
    precision: str
    device: str
    halo: Mapping[Any, int] | None = None  # coarse pixels by dim, if finite
    seed: int | None = None  # of the noise, if any


def with_provenance(da: xr.DataArray, scale: Mapping[Any, float], facts: Facts) -> xr.DataArray:
    """Return an array whose attrs say how it was made, `scale` being fine pixels per coarse pixel by dim.

    They are ``sr_model``, ``sr_model_sha256``, ``sr_version``, ``sr_scale`` and ``sr_halo`` (both in z, y, x
    order), ``sr_precision``, ``sr_device``, ``sr_seed`` of a model that draws noise, and one more line of
    ``history``, after the CF conventions.
    """
    dims = spatial_dims(da).values()
    factors = " ".join(f"{scale.get(dim, 1):.17g}" for dim in dims)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now} sr_imaging {__version__}: upscale by {factors} with {facts.name}"
    earlier = str(da.attrs["history"]) + "\n" if da.attrs.get("history") else ""
    if facts.halo is not None:
        da = da.assign_attrs(sr_halo=" ".join(str(facts.halo.get(dim, 0)) for dim in dims))
    if facts.seed is not None:
        da = da.assign_attrs(sr_seed=facts.seed)
    return da.assign_attrs(
        history=earlier + line,
        sr_model=facts.name,
        sr_model_sha256=facts.sha256,
        sr_version=__version__,
        sr_scale=factors,
        sr_precision=facts.precision,
        sr_device=facts.device.split(":", maxsplit=1)[0],
    )
