"""De-identification after the basic profile of DICOM PS3.15: only listed elements of a header are kept.

The list holds what describes the image and how it was acquired. Whatever is not on it is
removed, in sequences as well: names, dates, places, comments, unknown and private elements.
"""

from collections.abc import Iterable
from dataclasses import replace

import xarray as xr
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, generate_uid

from sr_imaging.errors import WriteError
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.scan import Scan

from .derived_header import SourceSlice, code_sequence

__all__ = ["KEPT", "anonymous_array", "anonymous_sources", "new_uid", "refuse_text_in_pixels"]

STANDARD = "1.2.840.10008."  # prefix of the standard's own identifiers: classes, transfer syntaxes
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CAPTURED = frozenset({"SCREEN SAVE", "SCREENSAVE", "SECONDARY"})  # of ImageType
METHOD = "basic profile of DICOM PS3.15 by a list of kept elements"

# Type 2: must be there, and may be empty.
EMPTIED = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
)
EMPTIED_WHERE_PRESENT = ("ContrastBolusAgent",)

KEPT = frozenset(
    tag_for_keyword(name)
    for name in (
        # what the image is
        *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality"),
        *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator"),
        *("SeriesNumber", "AcquisitionNumber", "InstanceNumber", "Laterality", "BodyPartExamined"),
        *("PatientPosition", "PatientOrientation", "TemporalPositionIdentifier", "NumberOfTemporalPositions"),
        *("BurnedInAnnotation", "RecognizableVisualFeatures"),
        # what made it
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
        # its grid and its values
        *("Rows", "Columns", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SliceLocation"),
        *("ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
        *("RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth"),
        *("VOILUTFunction", "VOILUTSequence", "LUTDescriptor", "LUTData", "PresentationLUTShape"),
        *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
        # how CT was acquired
        *("ScanOptions", "KVP", "DataCollectionDiameter", "DistanceSourceToDetector", "ExposureTime"),
        *("DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight", "RotationDirection", "Exposure"),
        *("XRayTubeCurrent", "FilterType", "GeneratorPower", "FocalSpots", "ConvolutionKernel"),
        *("SingleCollimationWidth", "TotalCollimationWidth", "TableSpeed", "TableFeedPerRotation"),
        *("SpiralPitchFactor", "DataCollectionCenterPatient", "ReconstructionTargetCenterPatient"),
        *("ExposureModulationType", "EstimatedDoseSaving", "CTDIvol"),
        # how MR was acquired
        *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "SequenceName", "AngioFlag"),
        *("RepetitionTime", "EchoTime", "InversionTime", "NumberOfAverages", "ImagingFrequency"),
        *("ImagedNucleus", "EchoNumbers", "MagneticFieldStrength", "NumberOfPhaseEncodingSteps"),
        *("EchoTrainLength", "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth"),
        *("ReceiveCoilName", "TransmitCoilName", "AcquisitionMatrix", "InPlanePhaseEncodingDirection"),
        *("FlipAngle", "VariableFlipAngleFlag", "SAR", "dBdt", "AcquisitionDuration"),
        *("DiffusionBValue", "DiffusionGradientOrientation"),
    )
)


def new_uid(uid: str) -> str:
    """Return the identifier that replaces another: always the same one, those of the standard unchanged.

    It is made from a hash: nobody can compute the old one, and who has it can recognise it.
    """
    if not uid or uid.startswith(STANDARD):
        return uid
    return str(generate_uid(entropy_srcs=["de-identified", uid]))


def anonymous_sources(sources: Iterable[SourceSlice]) -> list[SourceSlice]:
    """Return source slices without what may identify a patient, their identifiers replaced.

    Raises WriteError if the pixels of a slice may hold text.
    """
    cleaned: dict[int, Dataset] = {}  # the frames of an enhanced file share one header
    found = []
    for item in sources:
        if id(item.header) not in cleaned:
            _refuse_text(item.header, item.frame.sop_class, item.frame.image_type)
            cleaned[id(item.header)] = _strip_header(item.header)
        uid = new_uid(item.instance_uid)
        found.append(replace(item, header=cleaned[id(item.header)], instance_uid=uid))
    return found


def anonymous_array(da: xr.DataArray) -> xr.DataArray:
    """Return a volume without texts but unit, modality and model, its frame of reference replaced."""
    if "volume_ref" not in da.coords:
        raise WriteError(
            "only volumes in patient space can be de-identified, and the array has no volume_ref coord; "
            "write it without deidentify"
        )
    attrs = {
        name: value
        for name, value in da.attrs.items()
        if name in ("_FillValue", "units") or str(name).startswith("sr_")
    }
    place = dict(da.coords["volume_ref"].attrs)
    if place.get("frame_of_reference_uid"):
        place["frame_of_reference_uid"] = new_uid(str(place["frame_of_reference_uid"]))
    out = da.copy(deep=False).assign_coords(volume_ref=((), da.coords["volume_ref"].values, place))
    out.attrs = attrs
    return out


def refuse_text_in_pixels(source: Scan) -> None:
    """Raise WriteError for a DICOM series whose pixels may hold text, such as a screen capture."""
    names = ("SOPClassUID", "ImageType", "ConversionType", "BurnedInAnnotation")
    with quiet_pydicom():
        for path in source.files:
            header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(names))
            types = tuple(str(value) for value in header.get("ImageType") or ())
            _refuse_text(header, str(header.get("SOPClassUID", "")), types)


def _refuse_text(header: Dataset, sop_class: str, image_type: tuple[str, ...]) -> None:
    """Raise where pixels may hold text; a header that states that they hold none is believed."""
    stated = str(header.get("BurnedInAnnotation") or "")
    if stated == "NO":
        return
    reason = ""
    if stated:
        reason = f"BurnedInAnnotation is {stated}"
    elif sop_class.startswith(SECONDARY_CAPTURE) or header.get("ConversionType"):
        reason = "it is a secondary capture"
    elif marks := CAPTURED & set(image_type):
        reason = f"ImageType holds {min(marks)}"
    if reason:
        raise WriteError(
            f"the pixels may hold text that de-identification cannot see ({reason}); look at them, and if "
            "they hold none, state BurnedInAnnotation NO in the source"
        )


def _strip_header(header: Dataset) -> Dataset:
    """Return a header of the listed elements alone, with what the profile adds."""
    out = _keep_listed(header)
    for name in (*EMPTIED, *(name for name in EMPTIED_WHERE_PRESENT if name in header)):
        setattr(out, name, "")
    out.PatientIdentityRemoved = "YES"
    out.DeidentificationMethod = METHOD
    out.DeidentificationMethodCodeSequence = code_sequence("deidentification")
    out.LongitudinalTemporalInformationModified = "REMOVED"
    return out


def _keep_listed(header: Dataset) -> Dataset:
    """Return the listed elements, also those of sequence items, with identifiers replaced."""
    out = Dataset()
    for element in header:
        if element.tag not in KEPT:
            continue
        if element.VR == "SQ":
            out[element.tag] = DataElement(
                element.tag, "SQ", DicomSequence(_keep_listed(item) for item in element.value)
            )
        elif element.VR == "UI":
            out[element.tag] = DataElement(element.tag, "UI", UID(new_uid(str(element.value))))
        else:
            out[element.tag] = element
    return out
