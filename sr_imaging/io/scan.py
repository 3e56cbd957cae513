"""What a reader found: a scan, and the verdict on whether it forms one good image."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr_imaging.errors import ConfigError

__all__ = ["POLICIES", "Check", "Scan", "Verdict", "under_policies"]

POLICIES = ("on_missing", "on_tilt")  # what a caller may ask for instead of a refusal
_CHOICES = ("raise", "resample")


@dataclass(frozen=True)
class Verdict:
    """Whether a scan can be read as one image, and what was noticed."""

    ok: bool  # `sr_imaging.read` returns an array
    reason: str = ""  # where not ok: why, with numbers, file names and the remedy
    notes: tuple[str, ...] = ()  # what was noticed and dealt with: dropped duplicates, a localizer left out
    needs: tuple[str, ...] = ()  # where not ok: the policies that make it readable when they are "resample"

    def __str__(self) -> str:
        """Return the verdict in one line."""
        return "; ".join(filter(None, ("ok" if self.ok else f"refused: {self.reason}", *self.notes)))

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON holds: ``ok``, ``reason``, ``notes`` and ``needs``."""
        return {"ok": self.ok, "reason": self.reason, "notes": list(self.notes), "needs": list(self.needs)}

    def to_json(self) -> str:
        """Return the same as one line of JSON."""
        return json.dumps(self.as_dict())


@dataclass(frozen=True)
class Scan:
    """One image on disk: a file, or one DICOM series of a folder. Holds no patient data.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds the series.
    kind : str
        Name of its format: ``dicom``, ``geotiff``, ``nifti``, ``zarr``, … .
    verdict : Verdict
        Whether it can be read.
    series_uid : str, optional
        DICOM SeriesInstanceUID.
    files : tuple of Path
        The slices sorted by position along the normal, or the file itself.
    shape : tuple of int
        Shape as it will be read; empty where unknown.
    spacing : tuple of float
        Distance of pixel centres by spatial dim in the same order, in mm or CRS units; empty where unknown.
    modality : str, optional
        ``CT``, ``MR``, … .
    facts : dict
        More that a table may show: series number, dtype, CRS, bands, … .
    repaired : Scan, optional
        The same scan as it reads where ``verdict.needs`` are granted: straight, even, without gaps.
    """

    path: Path
    kind: str
    verdict: Verdict
    series_uid: str | None = None
    files: tuple[Path, ...] = ()
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    modality: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    repaired: "Scan | None" = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON holds of it: path, kind, verdict, grid and facts; no patient data."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            **self.verdict.as_dict(),
            "series_uid": self.series_uid,
            "files": len(self.files),
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "modality": self.modality,
            **self.facts,
        }


def under_policies(scans: Iterable[Scan], *, on_missing: str = "raise", on_tilt: str = "raise") -> list[Scan]:
    """Return each scan, or what it is repaired to where the policies grant all that it needs."""
    policies = dict(zip(POLICIES, (on_missing, on_tilt), strict=True))
    for name, choice in policies.items():
        if choice not in _CHOICES:
            raise ConfigError(f"unknown {name} {choice!r}; choose raise or resample")
    granted = {name for name, choice in policies.items() if choice == "resample"}
    return [scan.repaired if scan.repaired and granted >= set(scan.verdict.needs) else scan for scan in scans]


@dataclass(frozen=True)
class Check:
    """What a series does not fulfil."""

    problems: tuple[str, ...] = ()  # each with the files that have it, without values of the patient
    notes: tuple[str, ...] = ()  # what could not be compared, or is wrong since the acquisition

    def __str__(self) -> str:
        """Return problems and notes in one line."""
        return "; ".join([*(self.problems or ("ok",)), *self.notes])
