"""Whose scan it is: patient data, read only on request and kept nowhere."""

from sr_imaging.io.scan import Scan

__all__ = ["patient_of"]

_TAGS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate")


def patient_of(scan: Scan) -> dict[str, str]:
    """Return patient and study date of a scan by DICOM keyword, as its first file has them.

    Empty values are left out; other kinds of scans and unreadable files have none.
    """
    if scan.kind != "dicom":
        return {}
    from pydicom import dcmread

    from .frame import BROKEN_FILE
    from .quiet_pydicom import quiet_pydicom

    try:
        with quiet_pydicom():
            header = dcmread(scan.files[0], specific_tags=list(_TAGS), stop_before_pixels=True, force=True)
            values = {name: str(header.get(name) or "") for name in _TAGS}
    except BROKEN_FILE:
        return {}
    return {name: text for name, text in values.items() if text}
