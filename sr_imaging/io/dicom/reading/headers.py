"""DICOM headers as frames: what grouping, geometry and decoding need."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sr_imaging.io.dicom.frame import BROKEN_FILE, NATIVE, Frame, LeftOutError, StopAfter
from sr_imaging.io.dicom.tags import ENHANCED, LAST_HEADER_TAG, SCAN_TAGS

from .raw_elements import Header
from .rescale import rescale_facts

__all__ = ["read_frames"]

CONTRAST_TAGS = (
    *("EchoNumbers", "TemporalPositionIdentifier", "DiffusionBValue", "EchoTime", "TriggerTime"),
    *("DiffusionGradientOrientation", "ImageType", "AcquisitionNumber", "AcquisitionTime"),
    "ConvolutionKernel",
)
SETTLED_NS = 2_000_000_000  # since a file was changed; the coarsest times of file systems are 2 s (FAT)
MOST_RECENT = 2048  # headers that are kept, about 6 MB
_RECENT: dict[tuple[Path, int, int, int, int], Frame] = {}


def read_frames(path: Path) -> list[Frame]:
    """Return the frames of a file, several if it is enhanced; what is not a slice is a `LeftOutError`."""
    try:
        return _read_or_recall(path)
    except InvalidDicomError:
        raise LeftOutError("not DICOM; fetch it again if it should be an image") from None
    except PermissionError:
        raise LeftOutError("may not be read: permission denied; grant access to it") from None
    except BROKEN_FILE as error:
        raise LeftOutError(f"damaged or truncated header ({type(error).__name__}); fetch it again") from error


def _read_or_recall(path: Path) -> list[Frame]:
    """Read a file, or recall what was read a moment ago: a scan is found first and then read.

    Times of files may be as coarse as two seconds, so a file that has just been written is always read.
    """
    stat = path.stat()
    state = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if (known := _RECENT.get(state)) is not None:
        return [known]
    frames = _parse_file(path)
    if len(frames) == 1 and time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
        _RECENT[state] = frames[0]
        while len(_RECENT) > MOST_RECENT:
            _RECENT.pop(next(iter(_RECENT), state), None)
    return frames


def _parse_file(path: Path) -> list[Frame]:
    """Return the frames of a file; a damaged one raises any of `BROKEN_FILE`."""
    dataset, size_left, stop = _read_header(path)
    header = Header(dataset)
    reason = _explain_other_kind(header)
    if reason:
        raise LeftOutError(reason, header.text("SeriesInstanceUID"))
    frame = _make_frame(path, header)
    frame = replace(frame, pixels_at=stop.pixels_at(frame))
    if frame.sop_class in ENHANCED:
        from .enhanced import enhanced_frames

        return enhanced_frames(path, frame)
    _check_size(frame, size_left)
    if "MOSAIC" in frame.image_type:
        from .mosaic import mosaic_frames

        return mosaic_frames(path, frame)
    return [frame]


def _read_header(path: Path) -> tuple[Dataset, int, StopAfter]:
    """Read up to the last tag of interest; return also how many bytes follow the next element's header."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size == 0:
            raise LeftOutError("empty file; fetch it again")
        file.seek(128)
        has_preamble = file.read(4) == b"DICM"
        file.seek(0)
        if not has_preamble and not _starts_like_a_dataset(file.read(8)):
            raise InvalidDicomError
        file.seek(0)
        stop = StopAfter(file, LAST_HEADER_TAG)
        dataset = read_partial(file, stop, force=True, specific_tags=[*SCAN_TAGS.values()])
        if not dataset and not has_preamble:
            raise InvalidDicomError
        next_header = 8 if dataset.original_encoding[0] else 12  # bytes before the pixels, VR implicit or not
        return dataset, size - file.tell() - next_header, stop


def _starts_like_a_dataset(start: bytes) -> bool:
    """Tell whether the first eight bytes can be a data element of group 0002 or 0008."""
    if len(start) < 8:
        return False
    little, big = int.from_bytes(start[:2], "little"), int.from_bytes(start[:2], "big")
    is_explicit = start[4:6].isalpha() and start[4:6].isupper()
    if little in (0x0002, 0x0008):
        return is_explicit or int.from_bytes(start[4:8], "little") < 1 << 16
    return big in (0x0002, 0x0008) and is_explicit


def _explain_other_kind(header: Header) -> str:
    """Return what a file is that is not a grey-scale slice, with the remedy; empty where it is one."""
    name, photometric = _name_class(header), header.text("PhotometricInterpretation")
    many = (header.number("NumberOfFrames") or 1) > 1 and header.text("SOPClassUID") not in ENHANCED
    is_index = name.startswith("Media Storage Directory")
    is_derived = name in ("RT Dose Storage", "Segmentation Storage", "Parametric Map Storage")
    is_colour = (header.integer("SamplesPerPixel") or 1) != 1
    no_size = not (header.integer("Rows") and header.integer("Columns"))
    is_cut = no_size and name.endswith("Image Storage")
    reasons = (
        (is_index, "DICOMDIR, an index; give the folder that holds the images"),
        (not header.dataset, "empty or truncated header; fetch it again"),
        (is_cut, f"damaged or truncated header ({name} without a size); fetch it again"),
        (no_size, f"no image ({name}); give the images of its study"),
        (is_derived, f"{name}, not a scan; give the images it was made from"),
        (is_colour, f"colour image ({photometric or 'several samples'}); export it in grey"),
        (photometric.startswith("PALETTE"), "palette colour image; export it in grey"),
        ("LOCALIZER" in header.texts("ImageType"), "localizer; give the series that it plans"),
        (many, f"multi-frame {name} without a geometry of its frames; export it as single slices"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _name_class(header: Header) -> str:
    """Return the readable name of the SOP class, from the data set or the file meta information."""
    uid = header.text("SOPClassUID")
    if not uid:
        uid = str(getattr(header.dataset, "file_meta", {}).get("MediaStorageSOPClassUID", ""))
    return UID(uid).name if uid else "SOP class unknown"


def _check_size(frame: Frame, size_left: int) -> None:
    """Leave out a file whose uncompressed pixels cannot be complete, or that has no compressed ones."""
    needed = frame.rows * frame.columns * max(frame.bits[0], 8) // 8
    if frame.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return
    if frame.transfer_syntax not in NATIVE:
        needed = 1
    if size_left < needed:
        cut = f"truncated: {size_left} of {needed} bytes of pixel data; fetch it again"
        what = "no pixel data; export it with its pixels" if size_left <= 0 else cut
        raise LeftOutError(what, frame.series_uid)


def _make_frame(path: Path, header: Header) -> Frame:
    """Return the frame of a single-frame file."""
    signed = header.integer("PixelRepresentation") == 1
    allocated = header.integer("BitsAllocated") or 16
    stored = header.integer("BitsStored") or allocated
    position = header.numbers("ImagePositionPatient", 3)
    orientation = header.numbers("ImageOrientationPatient", 6)
    spacing = header.numbers("PixelSpacing", 2)
    high_bit = header.integer("HighBit")
    padding = header.integer("PixelPaddingValue", signed=signed)
    limit = header.integer("PixelPaddingRangeLimit", signed=signed)
    limit = padding if limit is None else limit
    return Frame(
        path=path,
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
        position=None if position is None else np.array(position),
        orientation=None if orientation is None else np.array(orientation),
        pixel_spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness=header.number("SliceThickness"),
        slice_gap=header.number("SpacingBetweenSlices"),
        **rescale_facts(header.texts("RescaleSlope"), header.texts("RescaleIntercept")),
        has_lut=header.is_filled("ModalityLUTSequence"),
        padding=None if padding is None or limit is None else (min(padding, limit), max(padding, limit)),
        padding_value=padding,
        bits=(allocated, stored, stored - 1 if high_bit is None else high_bit),
        signed=signed,
        transfer_syntax=_find_transfer_syntax(header.dataset),
        sop_class=header.text("SOPClassUID"),
        sop_instance=header.text("SOPInstanceUID"),
        patient=_hash_text(header.text("PatientID")),
        study_uid=header.text("StudyInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
        series_number=header.text("SeriesNumber"),
        instance_number=header.text("InstanceNumber"),
        frame_of_reference=header.text("FrameOfReferenceUID"),
        modality=header.text("Modality"),
        image_type=header.texts("ImageType"),
        photometric=header.text("PhotometricInterpretation"),
        rescale_type=header.text("RescaleType"),
        units=header.text("Units"),
        keys=_collect_keys(header),
    )


def _find_transfer_syntax(dataset: Dataset) -> UID:
    """Return the stated transfer syntax; without file meta information, the encoding that pydicom found."""
    stated = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if stated:
        return UID(stated)
    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


def _collect_keys(header: Header) -> dict[str, str]:
    """Return what may tell contrasts of one series apart."""
    types = header.texts("ImageType")
    component = types[2] if len(types) > 2 and header.text("Modality") == "MR" else ""
    return {**{name: header.key(name) for name in CONTRAST_TAGS}, "component": component}


def _hash_text(text: str) -> str:
    """Return a hash, which is the same for the same text and does not show it."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""
