"""The header of a derived slice: what is carried from its source, what is made, what is computed anew."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, generate_uid

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.tags import ALWAYS_LOSSY, CODES, CT_IMAGE, LOSSY_METHODS, MR_IMAGE, UNPAIRED

from .carried_header import carry_frame_header, carry_header, new_header
from .encoding import ds_text

__all__ = ["SourceSlice", "class_uid", "code_sequence", "load_sources", "make_slice_header", "make_uids"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceSlice:
    """A slice of the source: its place and what of its header a derived slice carries."""

    frame: Frame
    header: Dataset
    class_uid: str
    instance_uid: str


def load_sources(frames: Sequence[Frame], modality: str) -> list[SourceSlice]:
    """Return a source slice for each frame, with the header that a derived slice may carry.

    The frames of an enhanced file share one header.
    """
    headers: dict[str, tuple[Dataset, str, str]] = {}
    slices = []
    for frame in frames:
        key = str(frame.path)
        if key not in headers:
            headers[key] = _load_header(frame, modality)
        slices.append(SourceSlice(frame, *headers[key]))
    return slices


def _load_header(frame: Frame, modality: str) -> tuple[Dataset, str, str]:
    """Return what a derived slice carries of a file's header, and the file's class and instance."""
    dataset = dcmread(frame.path, stop_before_pixels=True, force=True)
    meta = getattr(dataset, "file_meta", Dataset())
    header = carry_frame_header(dataset, frame, modality) if frame.is_enhanced else carry_header(dataset)
    if frame.is_enhanced or not frame.sop_class:  # not, or never, a valid image of the class
        header = _complete_header(header, modality)
    _mark_lossy(header, frame, int(dataset.get("NumberOfFrames") or 1))
    kind = frame.sop_class or str(meta.get("MediaStorageSOPClassUID", class_uid(modality)))
    return header, kind, frame.sop_instance or str(meta.get("MediaStorageSOPInstanceUID", ""))


def _complete_header(header: Dataset, modality: str) -> Dataset:
    """Return a header with the attributes that the image class requires and the source lacks."""
    complete = new_header(modality)
    if header.get("BodyPartExamined") in UNPAIRED:
        del complete.Laterality
    complete.update(header)
    return complete


def _mark_lossy(header: Dataset, frame: Frame, frames: int) -> None:
    """State that a slice was once compressed with loss, also where only its transfer syntax says so."""
    syntax, stated = str(frame.transfer_syntax), header.get("LossyImageCompression")
    method = LOSSY_METHODS.get(syntax)
    if method is None or stated == "01" or (stated and syntax not in ALWAYS_LOSSY):
        return
    raw_size = frames * frame.rows * frame.columns * frame.bits[0] / 8
    header.LossyImageCompression = "01"
    header.LossyImageCompressionMethod = method
    header.LossyImageCompressionRatio = ds_text(round(raw_size / max(frame.path.stat().st_size, 1), 2))


def make_uids(
    sources: Sequence[SourceSlice], entropy: Sequence[str], digest: str, frame_of_reference: str
) -> tuple[dict[str, str], list[str]]:
    """Return the identifiers of a new series, the same in a repeated run, and the names its source lacks.

    `digest` is a hash of the grid and the stored pixels: other pixels never share an identifier.
    `frame_of_reference` is the identifier that the array states; empty for none.
    """
    header = sources[0].header if sources else Dataset()
    origin = [source.instance_uid for source in sources]
    origin = origin if any(origin) else [str(header.get("SeriesInstanceUID", "")), digest]
    uids, made = {}, []
    for name, stated in (("StudyInstanceUID", ""), ("FrameOfReferenceUID", frame_of_reference)):
        uids[name] = str(header.get(name) or stated)
        if not uids[name]:
            uids[name] = generate_uid(entropy_srcs=[name, *origin])
            made.append(name)
    series = ["SeriesInstanceUID", str(header.get("SeriesInstanceUID", "")), *origin]
    uids["SeriesInstanceUID"] = generate_uid(entropy_srcs=[*series, *entropy, digest])
    if sources and made:
        logger.warning("the source has no %s; made new ones", " and no ".join(made))
    return uids, made


def make_slice_header(
    header: Dataset, *, modality: str, index: int, position: np.ndarray, location: float, uids: dict[str, str]
) -> Dataset:
    """Return a copy of the carried header with a slice's own class, identifiers, type and place.

    `index` counts slices from 0; `position` is the centre of the first pixel in LPS mm, `location` its place
    along the normal in mm.
    """
    out = Dataset()
    out.update(header)
    out.SOPClassUID = UID(class_uid(modality))
    out.SOPInstanceUID = generate_uid(entropy_srcs=[uids["SeriesInstanceUID"], str(index)])
    for name, uid in uids.items():
        setattr(out, name, UID(uid))
    out.ImageType = _derive_image_type(header.get("ImageType"), modality)
    out.Modality = modality
    out.InstanceNumber = index + 1
    out.ImagePositionPatient = [ds_text(v) for v in position]
    out.SliceLocation = ds_text(location)
    return out


def _derive_image_type(stated: str | Sequence[str] | None, modality: str) -> list[str]:
    """Return ImageType of a derived slice: the source's from its third value on, without MOSAIC."""
    types = [] if stated is None or isinstance(stated, str) else list(stated)
    rest = [str(part) for part in types[2:] if part != "MOSAIC"]  # the tiles have been taken apart
    default = "AXIAL" if modality == "CT" else "OTHER"
    return ["DERIVED", "SECONDARY", *(rest if rest and rest[0] else [default, *rest[1:]])]


def class_uid(modality: str) -> str:
    """Return the class of a single-frame slice; `modality` is ``CT`` or another."""
    return CT_IMAGE if modality == "CT" else MR_IMAGE


def code_sequence(kind: str) -> DicomSequence:
    """Return one of the codes of the tag table as a code sequence."""
    value, meaning = CODES[kind]
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return DicomSequence([item])
