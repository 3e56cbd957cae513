"""The header of a derived series: what is carried from its source, what is made, what is computed anew."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, generate_uid

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.tags import ALWAYS_LOSSY, CODES, CT_IMAGE, LOSSY_METHODS, MR_IMAGE, UNPAIRED

from .carried_header import carried, carried_of_frame, new_header
from .encoding import ds_text

__all__ = ["Provenance", "SourceSlice", "class_uid", "code", "identify", "load_sources", "stamp"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceSlice:
    """A slice of the source: its place and what of its header a derived slice carries."""

    frame: Frame
    header: Dataset
    class_uid: str
    instance_uid: str


@dataclass(frozen=True)
class Provenance:
    """How the voxels were made, from the attributes of the array; empty where unknown.

    Parameters
    ----------
    model, sha256, version, scale, precision, device : str
        Model name and hash, program version, scale in z, y, x, arithmetic, ``cpu`` or ``cuda``.
    reach : float
        Distance below which a slice of the result sees source slices, in their steps; 0.5 for its own alone.
    now : datetime, optional
        Time of the derivation; None where it is not to be told.
    """

    model: str
    sha256: str
    version: str
    scale: str
    precision: str
    device: str
    reach: float
    now: datetime | None

    @property
    def entropy(self) -> list[str]:
        """What distinguishes one derivation from another of the same source."""
        return [self.model, self.sha256, self.scale, self.precision, self.device]


def load_sources(frames: Sequence[Frame], modality: str) -> list[SourceSlice]:
    """Read the headers of the source slices and strip what a derived slice must not carry.

    Parameters
    ----------
    frames : sequence of Frame
        Source slices, sorted.
    modality : str
        ``CT`` or ``MR``.

    Returns
    -------
    list of SourceSlice
        One a frame; the frames of an enhanced file share one header.
    """
    headers: dict[str, tuple[Dataset, str, str]] = {}
    slices = []
    for frame in frames:
        key = str(frame.path)
        if key not in headers:
            dataset = dcmread(frame.path, stop_before_pixels=True, force=True)
            meta = getattr(dataset, "file_meta", Dataset())
            header = carried_of_frame(dataset, frame, modality) if frame.is_enhanced else carried(dataset)
            if frame.is_enhanced or not frame.sop_class:  # not, or never, a valid image of the class
                header = _completed(header, modality)
            _keep_lossy(header, frame, int(dataset.get("NumberOfFrames") or 1))
            kind = frame.sop_class or str(meta.get("MediaStorageSOPClassUID", class_uid(modality)))
            instance_uid = frame.sop_instance or str(meta.get("MediaStorageSOPInstanceUID", ""))
            headers[key] = (header, kind, instance_uid)
        slices.append(SourceSlice(frame, *headers[key]))
    return slices


def _completed(header: Dataset, modality: str) -> Dataset:
    """Add the attributes that the image class demands and the source lacks."""
    complete = new_header(modality)
    if header.get("BodyPartExamined") in UNPAIRED:
        del complete.Laterality
    complete.update(header)
    return complete


def _keep_lossy(header: Dataset, frame: Frame, frames: int) -> None:
    """Say that a slice was compressed with loss once, also where only its transfer syntax tells."""
    syntax, stated = str(frame.transfer_syntax), header.get("LossyImageCompression")
    method = LOSSY_METHODS.get(syntax)
    if method is None or stated == "01" or (stated and syntax not in ALWAYS_LOSSY):
        return
    raw_size = frames * frame.rows * frame.columns * frame.bits[0] / 8
    header.LossyImageCompression = "01"
    header.LossyImageCompressionMethod = method
    header.LossyImageCompressionRatio = ds_text(round(raw_size / max(frame.path.stat().st_size, 1), 2))


def identify(
    sources: Sequence[SourceSlice], provenance: Provenance, digest: str, frame_of_reference: str
) -> tuple[dict[str, str], list[str]]:
    """Make the identifiers of the new series and those that its source lacks.

    Parameters
    ----------
    sources : sequence of SourceSlice
        Empty for a new series.
    provenance : Provenance
        How the voxels were made.
    digest : str
        Hash of the grid and the stored pixels: other pixels never share an identifier.
    frame_of_reference : str
        Identifier that the array states; empty for none.

    Returns
    -------
    uids : dict
        ``StudyInstanceUID``, ``FrameOfReferenceUID``, ``SeriesInstanceUID``; the same in a repeated run.
    made : list of str
        Those that the source lacks.
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
    uids["SeriesInstanceUID"] = generate_uid(entropy_srcs=[*series, *provenance.entropy, digest])
    if sources and made:
        logger.warning("the source has no %s; made new ones", " and no ".join(made))
    return uids, made


def stamp(
    header: Dataset,
    *,
    modality: str,
    index: int,
    position: np.ndarray,
    normal: np.ndarray,
    uids: dict[str, str],
) -> Dataset:
    """Return a slice's own header: class, identifiers, type, place and dates.

    Parameters
    ----------
    header : Dataset
        Carried from the nearest source slice; not changed.
    modality : str
        ``CT`` or ``MR``.
    index : int
        Number of the slice from 0.
    position : (3,) ndarray
        Centre of its first pixel, LPS mm.
    normal : (3,) ndarray
        Unit normal, along which the location is measured.
    uids : dict
        From :func:`identify`.

    Returns
    -------
    Dataset
        To be completed with pixels and the facts that all slices share.
    """
    out = Dataset()
    out.update(header)
    out.SOPClassUID = UID(class_uid(modality))
    out.SOPInstanceUID = generate_uid(entropy_srcs=[uids["SeriesInstanceUID"], str(index)])
    for name, uid in uids.items():
        setattr(out, name, UID(uid))
    stated = [str(part) for part in _as_list(header.get("ImageType"))[2:]]
    rest = [part for part in stated if part != "MOSAIC"]  # the tiles have been taken apart
    default = "AXIAL" if modality == "CT" else "OTHER"
    out.ImageType = ["DERIVED", "SECONDARY", *(rest if rest and rest[0] else [default, *rest[1:]])]
    out.Modality = modality
    out.InstanceNumber = index + 1
    out.ImagePositionPatient = [ds_text(v) for v in position]
    out.SliceLocation = ds_text(float(position @ normal))
    return out


def class_uid(modality: str) -> str:
    """Return the class of a single-frame slice; `modality` is ``CT`` or another."""
    return CT_IMAGE if modality == "CT" else MR_IMAGE


def _as_list(value: object) -> list[object]:
    """Return the values of an element that may have one, many or none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def code(kind: str) -> DicomSequence:
    """Return one of the codes of the tag table as a code sequence."""
    value, meaning = CODES[kind]
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return DicomSequence([item])
