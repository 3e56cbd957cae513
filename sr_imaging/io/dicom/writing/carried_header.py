"""What of a source's header stays true of a derived slice: of a single-frame file, or a frame of many."""

import logging

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import PersonName

from sr_imaging.io.dicom.frame import BROKEN_FILE, Frame
from sr_imaging.io.dicom.reading.enhanced import frame_element
from sr_imaging.io.dicom.tags import (
    DROPPED,
    DROPPED_GROUPS,
    FRAME_FACTS,
    MULTI_FRAME,
    PHASE,
    RENAMED,
    UNPAIRED,
)

from .encoding import ds_text

__all__ = ["carried", "carried_of_frame", "new_header"]

TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")  # whose letters depend on SpecificCharacterSet
LOST = "\ufffd"  # stands for bytes that are no letter of the character set

logger = logging.getLogger(__name__)


def carried(dataset: Dataset) -> Dataset:
    """Copy what of a source's header stays true of a derived slice.

    Parameters
    ----------
    dataset : Dataset
        A file without its pixels.

    Returns
    -------
    Dataset
        Without private elements and those that cannot be parsed.
    """
    out = Dataset()
    for tag in list(dataset.keys()):
        if tag.is_private or tag.element == 0 or tag in DROPPED or tag.group in DROPPED_GROUPS:
            continue
        raw = dataset.get_item(tag)
        try:
            out[tag] = _as_written(_fitting(dataset[tag]), raw)
        except BROKEN_FILE:
            logger.info("left out element %s, which cannot be parsed", tag)
    out.remove_private_tags()
    return out


def _fitting(element: DataElement) -> DataElement:
    """Write decimal strings of more than 16 characters (PS3.5 table 6.2-1) anew, in sequences as well."""
    if element.VR == "SQ":
        for item in element.value:
            for tag in list(item.keys()):
                item[tag] = _fitting(item[tag])
    if element.VR != "DS" or element.value is None:
        return element
    values = element.value if element.VM > 1 else [element.value]
    if all(len(str(value)) <= 16 for value in values):
        return element
    return DataElement(element.tag, "DS", [ds_text(float(value)) for value in values])


def _as_written(element: DataElement, raw: object) -> DataElement:
    """Keep the bytes of a text that its character set cannot decode: decoded, letters of it would be lost."""
    value = getattr(raw, "value", None)
    is_text = element.VR in TEXTS and element.keyword != "SeriesDescription"  # to which words are added
    if not (is_text and isinstance(value, bytes) and LOST in str(element.value)):
        return element
    if isinstance(element.value, PersonName):
        value = PersonName(value, element.value.encodings)
    return DataElement(element.tag, element.VR, value, already_converted=True)


def carried_of_frame(dataset: Dataset, frame: Frame, modality: str) -> Dataset:
    """Copy what stays true of a slice that is derived from a frame of an enhanced file.

    Parameters
    ----------
    dataset : Dataset
        The enhanced file without its pixels.
    frame : Frame
        One of its frames.
    modality : str
        ``CT`` or ``MR``.

    Returns
    -------
    Dataset
        Its top level without what only a file of many frames has, and what the functional groups of the
        frame say, under the names of the single-frame class.
    """
    out = carried(dataset)
    for tag in MULTI_FRAME:
        out.pop(tag, None)
    for groups in dataset.get("SharedFunctionalGroupsSequence") or []:
        for item in groups.get("UnassignedSharedConvertedAttributesSequence") or []:
            out.update(carried(item))  # of the slices that a legacy file was converted from
    for group, names in FRAME_FACTS.items():
        for name in names:
            element = frame_element(dataset, frame.index or 0, group, name)
            fact = None if element is None else _renamed(element)
            if fact is not None:
                out[fact.tag] = fact
    diffusion = frame_element(
        dataset, frame.index or 0, "MRDiffusionSequence", "DiffusionGradientDirectionSequence"
    )
    for item in () if diffusion is None else diffusion.value:
        if "DiffusionGradientOrientation" in item:
            out["DiffusionGradientOrientation"] = item["DiffusionGradientOrientation"]
    side = frame_element(dataset, frame.index or 0, "FrameAnatomySequence", "FrameLaterality")
    if side is not None and side.value in ("L", "R") and out.get("BodyPartExamined") not in UNPAIRED:
        out.Laterality = side.value
    out.ImageType = _image_type(dataset, frame, modality)
    return out


def _renamed(element: DataElement) -> DataElement | None:
    """A frame's attribute as a single-frame file states it; None where its value has no counterpart there."""
    if element.keyword == "InPlanePhaseEncodingDirection":
        value = {"COLUMN": "COL", "ROW": "ROW"}.get(str(element.value))
        return None if value is None else DataElement(element.tag, "CS", value)
    name = RENAMED.get(element.keyword)
    if name is None:
        return _fitting(element)
    try:
        number = float(element.value)
    except (TypeError, ValueError):  # several values
        return None
    whole = dictionary_VR(name) == "IS"
    return DataElement(
        tag_for_keyword(name) or 0, "IS" if whole else "DS", round(number) if whole else ds_text(number)
    )


def _image_type(dataset: Dataset, frame: Frame, modality: str) -> list[str]:
    """ImageType as of a single-frame file, from the frame's own type; a phase image stays known as one."""
    group = f"{modality}ImageFrameTypeSequence"
    stated = frame_element(dataset, frame.index or 0, group, "FrameType")
    types = [str(part) for part in (dataset.get("ImageType") if stated is None else stated.value) or []]
    if modality == "CT":
        return [*types[:2], "AXIAL"]
    component = frame_element(dataset, frame.index or 0, group, "ComplexImageComponent")
    is_phase = component is not None and component.value == "PHASE" and not PHASE & {*types[2:]}
    return [*types, "P"] if is_phase else types


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
