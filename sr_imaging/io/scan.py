"""What a reader found: a scan, and the verdict on whether it forms one good image."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Scan", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Whether a scan can be read as one image, and what was noticed.

    Parameters
    ----------
    ok : bool
        True where `sr_imaging.read` returns an array.
    reason : str
        Why not, with the numbers and file names and the remedy; empty where `ok`.
    notes : tuple of str
        What was noticed and dealt with: dropped duplicates, a localizer left out, … .
    """

    ok: bool
    reason: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One readable line."""
        return "; ".join(filter(None, ("ok" if self.ok else f"refused: {self.reason}", *self.notes)))


@dataclass(frozen=True)
class Scan:
    """One image on disk: a file, or one DICOM series of a folder. Holds no patient data.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds the series.
    kind : str
        Key of ``sr_imaging.io.READERS``: ``dicom``, ``geotiff``, ``nifti``, ``zarr``, … .
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
