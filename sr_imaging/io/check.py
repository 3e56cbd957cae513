"""What written scans do not fulfil; only DICOM has rules that a reader may overlook."""

from collections.abc import Sequence
from dataclasses import dataclass

from .scan import Scan

__all__ = ["Check", "check_scans"]


@dataclass(frozen=True)
class Check:
    """What a series does not fulfil.

    Parameters
    ----------
    problems : tuple of str
        Each with the files that have it; no values of the patient. Empty where all is well.
    notes : tuple of str
        What could not be compared, and what an acquired series has wrong: nobody here can mend that.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One readable line."""
        return "; ".join([*(self.problems or ("ok",)), *self.notes])


def check_scans(scans: Sequence[Scan]) -> list[Check | None]:
    """Check DICOM series, and derived ones against those of their sources that are among them.

    Every series is held to the rules of single files and of a series; a derived one also to those of
    derivation, references, values and place.

    Parameters
    ----------
    scans : sequence of Scan
        Scans of any kind.

    Returns
    -------
    list of Check or None
        In the order of the scans; None where a scan is no DICOM series of readable slices.
    """
    if not any(scan.kind == "dicom" for scan in scans):
        return [None] * len(scans)
    from sr_imaging.io.dicom.checking.series import check_series

    return check_series(scans)
