"""Whose scan it is: patient data, read only where it is asked for and kept nowhere."""

from sr_imaging.io.scan import Scan

__all__ = ["patient_of"]

_ASKED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate")


def patient_of(scan: Scan) -> dict[str, str]:
    """Return patient and study date of a DICOM scan.

    Parameters
    ----------
    scan : Scan
        Of any kind, readable or not.

    Returns
    -------
    dict of str
        By DICOM keyword, as the first file states them; empty for other kinds and for what is not stated.
    """
    if scan.kind != "dicom":
        return {}
    from pydicom import dcmread

    from .frame import BROKEN_FILE
    from .quiet_pydicom import quiet_pydicom

    try:
        with quiet_pydicom():
            header = dcmread(scan.files[0], specific_tags=list(_ASKED), stop_before_pixels=True, force=True)
            stated = {name: str(header.get(name) or "") for name in _ASKED}
    except BROKEN_FILE:
        return {}
    return {name: text for name, text in stated.items() if text}
