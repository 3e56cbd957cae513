"""What a DICOM file must state so that all readers read it alike: the rules of one file."""

import re
from collections.abc import Iterator
from typing import Any

from pydicom import DataElement, Dataset

from sr_imaging.io.dicom.frame import BROKEN_FILE
from sr_imaging.io.dicom.tags import CODES, CT_IMAGE, DROPPED, DROPPED_GROUPS, MR_IMAGE, WRITTEN_ANEW

__all__ = ["derived_problems", "file_problems", "is_derived", "item_codes"]

UID_FORM = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")  # PS3.5 chapter 9
LONGEST = {"DS": 16, "IS": 12, "UI": 64}  # characters, PS3.5 table 6.2-1
EQUIPMENT = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ContributionDescription")


def is_derived(dataset: Dataset) -> bool:
    """Return whether a slice says that its pixels were made from others."""
    return str(next(iter(dataset.get("ImageType") or [""]))) == "DERIVED"


def file_problems(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with any slice, acquired or derived, without values of the patient.

    `dataset` is a file with its file meta information, without its pixels.
    """
    yield from _check_meta(dataset)
    yield from _check_texts(dataset)
    yield from _check_image_type(dataset)
    yield from _check_pixel_description(dataset)
    if dataset.get("LossyImageCompression") == "01":
        for name in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if not dataset.get(name):
                yield f"LossyImageCompression is 01 without {name}"
    if dataset.get("PatientIdentityRemoved") == "YES":
        if not (dataset.get("DeidentificationMethod") or dataset.get("DeidentificationMethodCodeSequence")):
            yield "PatientIdentityRemoved is YES without DeidentificationMethod"
        if dataset.get("BurnedInAnnotation") == "YES":
            yield "PatientIdentityRemoved is YES, and so is BurnedInAnnotation"


def derived_problems(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with a slice resampled from others: derivation, sources, equipment, old values."""
    if not dataset.get("DerivationDescription"):
        yield "no DerivationDescription"
    if CODES["derivation"][0] not in item_codes(dataset, "DerivationCodeSequence"):
        yield f"no DerivationCodeSequence with {' '.join(CODES['derivation'])}"
    yield from _check_sources(dataset)
    yield from _check_equipment(dataset)
    for tag in sorted(dataset.keys()):
        if (tag in DROPPED and tag not in WRITTEN_ANEW) or tag.group in DROPPED_GROUPS:
            yield f"{_find_keyword(dataset, tag)} of the source, which does not hold for derived pixels"
    if any(tag.is_private for tag in dataset.keys()):  # noqa: SIM118
        yield "private elements, which nobody can vouch for"


def item_codes(dataset: Dataset, name: str) -> list[str]:
    """Return the code values of a code sequence."""
    return [str(item.get("CodeValue", "")) for item in dataset.get(name) or []]


def _check_meta(dataset: Dataset) -> Iterator[str]:
    """Yield where the file meta information names another object than the data set."""
    meta = getattr(dataset, "file_meta", Dataset())
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not dataset.get(name):
            yield f"no {name}"
        elif meta.get(f"MediaStorage{name}") != dataset.get(name):
            yield f"MediaStorage{name} is not the {name}"
    for name in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(name):
            yield f"no {name}"


def _check_texts(dataset: Dataset) -> Iterator[str]:
    """Yield decimal strings, integer strings and identifiers that are too long or malformed."""
    for element in _walk_elements(dataset):
        if element is None:
            yield "an element that cannot be parsed"
        elif element.VR in LONGEST:
            texts = [str(value) for value in _list_values(element)]
            if any(len(text) > LONGEST[element.VR] for text in texts):
                yield f"{element.keyword or element.tag} has more than {LONGEST[element.VR]} characters"
            if element.VR == "UI" and not all(UID_FORM.fullmatch(text) for text in texts if text):
                yield f"{element.keyword or element.tag} is not a well-formed identifier"


def _walk_elements(dataset: Dataset) -> Iterator[DataElement | None]:
    """Yield all elements, also those inside sequences; None for one that cannot be parsed."""
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
            yield element
            if element.VR == "SQ":
                for item in element.value:
                    yield from _walk_elements(item)
        except BROKEN_FILE:
            yield None


def _list_values(element: DataElement) -> list[Any]:
    """Return the values of an element that may have one, many or none."""
    if element.VM > 1:
        return list(element.value)
    return [] if element.value is None else [element.value]


def _check_image_type(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with the first two values, and the third that CT and MR require."""
    types = [str(value) for value in dataset.get("ImageType") or []]
    if len(types) < 2 or types[0] not in ("ORIGINAL", "DERIVED") or types[1] not in ("PRIMARY", "SECONDARY"):
        yield "ImageType does not begin with ORIGINAL or DERIVED, then PRIMARY or SECONDARY"
    elif dataset.get("SOPClassUID") == CT_IMAGE and types[2:3] not in (["AXIAL"], ["LOCALIZER"]):
        yield "the third value of ImageType is neither AXIAL nor LOCALIZER, which CT requires"
    elif dataset.get("SOPClassUID") == MR_IMAGE and not "".join(types[2:3]):
        yield "ImageType has no third value, which MR requires"


def _check_pixel_description(dataset: Dataset) -> Iterator[str]:
    """Yield where bits, padding and scaling contradict each other."""
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    high, sign = dataset.get("HighBit"), dataset.get("PixelRepresentation")
    if None in (allocated, stored, high, sign):
        yield "no BitsAllocated, BitsStored, HighBit or PixelRepresentation"
        return
    if not 0 < stored <= allocated or high != stored - 1:
        yield f"{stored} bits stored of {allocated} with high bit {high} do not fit together"
    padding = dataset.get("PixelPaddingValue")
    low = -(1 << allocated - 1) if sign else 0
    if isinstance(padding, int) and not low <= padding < low + (1 << allocated):
        yield f"PixelPaddingValue {padding} does not fit {allocated} bits"
    slope = dataset.get("RescaleSlope")
    if slope is not None and float(slope) == 0:
        yield "RescaleSlope is 0"
    if dataset.get("SOPClassUID") == CT_IMAGE and None in (slope, dataset.get("RescaleIntercept")):
        yield "no RescaleSlope or RescaleIntercept, which CT requires"


def _check_sources(dataset: Dataset) -> Iterator[str]:
    """Yield sources without class, instance or purpose, and a source that is the slice itself."""
    items = list(dataset.get("SourceImageSequence") or [])
    if not items:
        yield "no SourceImageSequence"
    for item in items:
        if not item.get("ReferencedSOPClassUID") or not item.get("ReferencedSOPInstanceUID"):
            yield "a source without class or instance in SourceImageSequence"
        if item.get("ReferencedSOPInstanceUID") == dataset.get("SOPInstanceUID"):
            yield "SourceImageSequence names the slice itself"
        if CODES["source"][0] not in item_codes(item, "PurposeOfReferenceCodeSequence"):
            yield f"a source without the purpose {' '.join(CODES['source'])}"


def _check_equipment(dataset: Dataset) -> Iterator[str]:
    """Yield what is not stated of the program that made the pixels: version, model, date."""
    items = [
        item
        for item in dataset.get("ContributingEquipmentSequence") or []
        if CODES["equipment"][0] in item_codes(item, "PurposeOfReferenceCodeSequence")
    ]
    if not items:
        yield f"no ContributingEquipmentSequence with {' '.join(CODES['equipment'])}"
        return
    needed = [*EQUIPMENT]
    if dataset.get("PatientIdentityRemoved") != "YES":  # whom a date may identify
        needed.append("ContributionDateTime")
    for name in needed:
        if not items[-1].get(name):
            yield f"no {name} in ContributingEquipmentSequence"


def _find_keyword(dataset: Dataset, tag: Any) -> str:
    """Return the keyword of an element, or its numbers."""
    try:
        return dataset[tag].keyword or str(tag)
    except BROKEN_FILE:
        return str(tag)
