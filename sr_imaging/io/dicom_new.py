"""The header of a CT or MR slice that has no source."""

from pydicom import Dataset

__all__ = ["new_header"]


def new_header(modality: str) -> Dataset:
    """Return the header of a slice without a source: what its class demands, empty where it may be.

    Parameters
    ----------
    modality : str
        ``CT`` or ``MR``.

    Returns
    -------
    Dataset
        Type 1 and 2 attributes of the CT or MR image class but for those that every slice sets.
    """
    header = Dataset()
    for name in (
        *("StudyDate", "StudyTime", "AccessionNumber", "Manufacturer", "ReferringPhysicianName"),
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "PatientPosition"),
        *("PositionReferenceIndicator", "Laterality", "AcquisitionNumber"),
    ):
        setattr(header, name, "" if name != "AcquisitionNumber" else None)
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER"]
    if modality == "CT":
        header.KVP = None
        return header
    header.ScanningSequence, header.SequenceVariant = "RM", "NONE"  # research mode: nothing is known
    header.ScanOptions, header.MRAcquisitionType = "", ""
    header.RepetitionTime = header.EchoTime = header.EchoTrainLength = None
    return header
