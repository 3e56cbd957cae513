"""How the voxels of a derived series were made, as their array says and as a header states it."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import xarray as xr
from pydicom import Dataset

from sr_imaging import __version__

from .derived_header import code_sequence

__all__ = ["Provenance", "make_equipment", "read_provenance"]


@dataclass(frozen=True)
class Provenance:
    """How voxels were made; texts are empty where unknown."""

    model: str
    sha256: str  # of the model file
    version: str  # of this program
    scale: str  # in z, y, x
    precision: str  # of the arithmetic
    device: str  # cpu or cuda
    reach: float  # source slices nearer than this to a slice, in their steps, are its sources
    now: datetime | None  # time of the derivation; None where it must not be stated

    @property
    def entropy(self) -> list[str]:
        """What distinguishes one derivation from another of the same source."""
        return [self.model, self.sha256, self.scale, self.precision, self.device]


def read_provenance(da: xr.DataArray, *, dated: bool) -> Provenance:
    """Return the model facts in the attributes of an array; with the present time if `dated`."""

    def read_text(name: str) -> str:
        value = da.attrs.get(name, "")
        return value if isinstance(value, str) else " ".join(f"{float(v):g}" for v in np.atleast_1d(value))

    return Provenance(
        model=read_text("sr_model"),
        sha256=read_text("sr_model_sha256"),
        version=read_text("sr_version") or __version__,
        scale=read_text("sr_scale"),
        precision=read_text("sr_precision"),
        device=read_text("sr_device"),
        reach=_convert_halo_to_reach(read_text("sr_halo").split()),
        now=datetime.now() if dated else None,
    )


def _convert_halo_to_reach(halo: list[str]) -> float:
    """Return how far off source slices were seen, in their steps; both neighbours where no halo is stated.

    The halo counts from the source slice that a position belongs to, which lies up to half a step off.
    """
    if not halo:
        return 1.001
    return (int(halo[-3]) if len(halo) >= 3 else 0) + 0.5


def make_equipment(facts: Provenance) -> Dataset:
    """Return the item of ContributingEquipmentSequence that names this program and the model."""
    out = Dataset()
    out.Manufacturer = "sr_imaging developers"
    out.ManufacturerModelName = "sr_imaging"
    out.SoftwareVersions = facts.version[:64]
    if facts.now is not None:
        out.ContributionDateTime = facts.now.strftime("%Y%m%d%H%M%S")
    model = [f"model {facts.model}", f"SHA-256 {facts.sha256}"] if facts.model else ["no model"]
    arithmetic = [part for part in (facts.precision, facts.device) if part]
    out.ContributionDescription = ", ".join([*model, *arithmetic])[:1024]
    out.PurposeOfReferenceCodeSequence = code_sequence("equipment")
    return out
