"""What of a source's header stays true of a slice that is derived from it."""

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

__all__ = ["carry_frame_header", "carry_header", "new_header"]

TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")  # their letters depend on SpecificCharacterSet
UNDECODABLE = "\ufffd"  # stands for bytes that the character set cannot decode

logger = logging.getLogger(__name__)


def carry_header(dataset: Dataset) -> Dataset:
    """Copy a header without pixels, private elements, unreadable ones, and those a derived slice drops."""
    out = Dataset()
    for tag in list(dataset.keys()):
        if tag.is_private or tag.element == 0 or tag in DROPPED or tag.group in DROPPED_GROUPS:
            continue
        raw = dataset.get_item(tag)
        try:
            out[tag] = _keep_undecodable(_shorten_decimals(dataset[tag]), raw)
        except BROKEN_FILE:
            logger.info("left out element %s, which cannot be parsed", tag)
    out.remove_private_tags()
    return out


def _shorten_decimals(element: DataElement) -> DataElement:
    """Rewrite decimal strings of more than 16 characters (PS3.5 table 6.2-1), in sequences as well."""
    if element.VR == "SQ":
        for item in element.value:
            for tag in list(item.keys()):
                item[tag] = _shorten_decimals(item[tag])
    if element.VR != "DS" or element.value is None:
        return element
    values = element.value if element.VM > 1 else [element.value]
    if all(len(str(value)) <= 16 for value in values):
        return element
    return DataElement(element.tag, "DS", [ds_text(float(value)) for value in values])


def _keep_undecodable(element: DataElement, raw: object) -> DataElement:
    """Keep the bytes of a text that its character set cannot decode; decoded, it would lose letters."""
    value = getattr(raw, "value", None)
    is_text = element.VR in TEXTS and element.keyword != "SeriesDescription"  # which gets words added
    if not (is_text and isinstance(value, bytes) and UNDECODABLE in str(element.value)):
        return element
    if isinstance(element.value, PersonName):
        value = PersonName(value, element.value.encodings)
    return DataElement(element.tag, element.VR, value, already_converted=True)


def carry_frame_header(dataset: Dataset, frame: Frame, modality: str) -> Dataset:
    """Copy what stays true of a slice derived from one frame of an enhanced file.

    That is the top level without what only a file of many frames has, and what the functional groups of
    the frame say, under the names of the single-frame class.
    """
    index = frame.index or 0
    out = carry_header(dataset)
    for tag in MULTI_FRAME:
        out.pop(tag, None)
    for groups in dataset.get("SharedFunctionalGroupsSequence") or []:
        for item in groups.get("UnassignedSharedConvertedAttributesSequence") or []:
            out.update(carry_header(item))  # of the slices that a legacy file was converted from
    for group, names in FRAME_FACTS.items():
        for name in names:
            element = frame_element(dataset, index, group, name)
            fact = None if element is None else _convert_to_single_frame(element)
            if fact is not None:
                out[fact.tag] = fact
    diffusion = frame_element(dataset, index, "MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    for item in () if diffusion is None else diffusion.value:
        if "DiffusionGradientOrientation" in item:
            out["DiffusionGradientOrientation"] = item["DiffusionGradientOrientation"]
    side = frame_element(dataset, index, "FrameAnatomySequence", "FrameLaterality")
    if side is not None and side.value in ("L", "R") and out.get("BodyPartExamined") not in UNPAIRED:
        out.Laterality = side.value
    out.ImageType = _read_image_type(dataset, index, modality)
    return out


def _convert_to_single_frame(element: DataElement) -> DataElement | None:
    """Return a frame's attribute as a single-frame file states it; None where it has no counterpart."""
    if element.keyword == "InPlanePhaseEncodingDirection":
        value = {"COLUMN": "COL", "ROW": "ROW"}.get(str(element.value))
        return None if value is None else DataElement(element.tag, "CS", value)
    name = RENAMED.get(element.keyword)
    if name is None:
        return _shorten_decimals(element)
    try:
        number = float(element.value)
    except (TypeError, ValueError):  # several values
        return None
    tag = tag_for_keyword(name) or 0
    if dictionary_VR(name) == "IS":
        return DataElement(tag, "IS", round(number))
    return DataElement(tag, "DS", ds_text(number))


def _read_image_type(dataset: Dataset, index: int, modality: str) -> list[str]:
    """Return ImageType as a single-frame file states it; a phase image stays recognisable as one."""
    group = f"{modality}ImageFrameTypeSequence"
    stated = frame_element(dataset, index, group, "FrameType")
    types = [str(part) for part in (dataset.get("ImageType") if stated is None else stated.value) or []]
    if modality == "CT":
        return [*types[:2], "AXIAL"]
    component = frame_element(dataset, index, group, "ComplexImageComponent")
    is_phase = component is not None and component.value == "PHASE" and not PHASE & {*types[2:]}
    return [*types, "P"] if is_phase else types


def new_header(modality: str) -> Dataset:
    """Return type 1 and 2 attributes of the CT or MR image class, empty, without those every slice sets."""
    header = Dataset()
    for name in (
        *("StudyDate", "StudyTime", "AccessionNumber", "Manufacturer", "ReferringPhysicianName"),
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "PatientPosition"),
        *("PositionReferenceIndicator", "Laterality"),
    ):
        setattr(header, name, "")
    header.AcquisitionNumber = None
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER"]
    if modality == "CT":
        header.KVP = None
        return header
    header.ScanningSequence, header.SequenceVariant = "RM", "NONE"  # research mode: nothing is known
    header.ScanOptions, header.MRAcquisitionType = "", ""
    header.RepetitionTime = header.EchoTime = header.EchoTrainLength = None
    return header
