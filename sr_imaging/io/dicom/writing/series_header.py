"""What the slices of a derived series share (grid, scaling, provenance), and the sources of each slice."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import spacing_problems, tilt_problems

from .carried_header import new_header
from .derived_header import SourceSlice, code_sequence, make_slice_header, make_uids
from .encoding import Encoding, ds_text
from .provenance import make_equipment, read_provenance

__all__ = ["LOSSY_FACTS", "SeriesFacts"]

SAME = 1e-6  # deviation of a cosine or a spacing (mm) from the source's, whose decimal strings then stay
LOSSY_FACTS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")

TILTED = "slices shifted by gantry tilt, straightened by linear interpolation"
FILLED = "missing source slices filled by linear interpolation"


class SeriesFacts:
    """What all slices of a new series share, and the header of each.

    `planes` are the stored pixels, (y, x) each, for the identifiers; if `dated`, slices state when they
    were made.
    """

    def __init__(
        self,
        da: xr.DataArray,
        *,
        matrix: np.ndarray,
        modality: str,
        encoding: Encoding,
        sources: list[SourceSlice],
        planes: Sequence[np.ndarray],
        dated: bool = True,
    ) -> None:
        self.matrix, self.modality, self.encoding, self.sources = matrix, modality, encoding, sources
        self.spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        self.unit = matrix[:3, :3] / self.spacing
        normal = np.cross(self.unit[:, 2], self.unit[:, 1])
        self.normal = normal / np.linalg.norm(normal)
        self.reference = da.coords["volume_ref"].attrs
        self.provenance = read_provenance(da, dated=dated)
        uid = str(self.reference.get("frame_of_reference_uid", ""))
        digest = _hash_pixels(matrix, encoding, planes)
        self.uids, self.made = make_uids(sources, self.provenance.entropy, digest, uid)
        self.along = np.array([item.frame.position @ self.normal for item in sources])
        self.acquired = sources[0].frame.thickness if sources else None  # mm
        self.source_step = self._measure_source_step()
        self.repairs = _describe_repairs([item.frame for item in sources])
        self.shared = self._make_shared()

    def header(self, index: int) -> Dataset:
        """Return the header of one slice, counted from 0, without rows, columns and pixels."""
        position = (self.matrix @ [index, 0, 0, 1])[:3]
        location = float(position @ self.normal)
        seen = self._find_seen(location)
        base = seen[0].header if seen else new_header(self.modality)
        out = make_slice_header(
            base, modality=self.modality, index=index, position=position, location=location, uids=self.uids
        )
        out.update(self.shared)
        if TILTED in self.repairs:
            out.pop("GantryDetectorTilt", None)  # some readers would straighten the slices again
        if references := self._list_references(seen):
            out.SourceImageSequence = DicomSequence(references)
        earlier = base.get("ContributingEquipmentSequence", [])
        out.ContributingEquipmentSequence = DicomSequence([*earlier, make_equipment(self.provenance)])
        return out

    def _measure_source_step(self) -> float:
        """Return the distance of source slices in mm; 0 without a source."""
        if len(self.along) > 1:
            return float(np.median(np.diff(np.sort(self.along))))  # whatever slices are missing
        return float(self.acquired or self.spacing[0]) if self.sources else 0.0

    def _find_seen(self, place: float) -> list[SourceSlice]:
        """Return the source slices that the model sees for a place in mm, or the nearest; nearest first."""
        if not self.sources:
            return []
        distance = np.abs(self.along - place)
        order = np.argsort(distance, kind="stable")
        near = [int(k) for k in order if distance[k] < self.source_step * self.provenance.reach]
        return [self.sources[k] for k in near or [int(order[0])]]

    def _list_references(self, seen: list[SourceSlice]) -> list[Dataset]:
        """Return a reference to each seen file in the order of the source, with the seen frames of each."""
        wanted = {id(item) for item in seen if item.instance_uid}
        files: dict[str, list[SourceSlice]] = {}
        for item in self.sources:
            if id(item) in wanted:
                files.setdefault(item.instance_uid, []).append(item)
        return [_make_reference(items) for items in files.values()]

    def _make_shared(self) -> Dataset:
        """Return the attributes that are equal in all slices."""
        first = self.sources[0].header if self.sources else Dataset()
        out = Dataset()
        now = self.provenance.now
        out.ContentDate = out.ContentTime = ""
        if now is not None:
            for name in ("InstanceCreation", "Series", "Content"):
                setattr(out, f"{name}Date", now.strftime("%Y%m%d"))
                setattr(out, f"{name}Time", now.strftime("%H%M%S"))
        out.SeriesNumber = _choose_series_number(first)
        text = _read_text(first, "SeriesDescription")
        label = f"SR {self.provenance.scale}".strip() if self.provenance.model else "resampled"
        out.SeriesDescription = f"{text[: 63 - len(label)]} {label}".strip()[:64]
        out.DerivationDescription = self._describe_derivation()
        out.DerivationCodeSequence = code_sequence("derivation")
        self._set_grid(out, first)
        self._set_values(out, first)
        headers = [item.header for item in self.sources]
        lossy = next((one for one in headers if one.get("LossyImageCompression") == "01"), Dataset())
        for name in LOSSY_FACTS:
            if name in lossy:
                out[name] = lossy[name]
        return out

    def _set_grid(self, out: Dataset, first: Dataset) -> None:
        """Set spacing, thickness and orientation; what did not change stays as the source wrote it."""
        frame = self.sources[0].frame if self.sources else None
        cosines = np.concatenate([self.unit[:, 2], self.unit[:, 1]])
        for name, stated, wanted in (
            ("ImageOrientationPatient", frame and frame.orientation, cosines),
            ("PixelSpacing", frame and frame.pixel_spacing, self.spacing[1:]),
        ):
            setattr(out, name, _keep_or_format(first.get(name), stated, wanted))
        out.SpacingBetweenSlices = ds_text(self.spacing[0])
        thickness = self._derive_thickness()
        out.SliceThickness = None if thickness is None else ds_text(thickness)

    def _derive_thickness(self) -> float | None:
        """Return the slice thickness in mm: the array's, else the source's by the factor, else None."""
        stated = self.reference.get("slice_thickness")
        if stated is None and self.acquired and self.source_step:
            return float(self.acquired * self.spacing[0] / self.source_step)
        return float(stated) if stated else None

    def _set_values(self, out: Dataset, first: Dataset) -> None:
        """Set how pixels are stored and what they mean."""
        out.SamplesPerPixel = 1
        out.PhotometricInterpretation = _read_text(first, "PhotometricInterpretation") or "MONOCHROME2"
        out.BitsAllocated, out.BitsStored, out.HighBit = 16, self.encoding.bits, self.encoding.bits - 1
        out.PixelRepresentation = int(self.encoding.signed)
        identity = (self.encoding.slope, self.encoding.intercept) == (1, 0)
        if self.modality == "CT" or not identity or any(item.frame.rescale_type for item in self.sources):
            out.RescaleSlope = ds_text(self.encoding.slope)
            out.RescaleIntercept = ds_text(self.encoding.intercept)
            stated = _read_text(first, "RescaleType") or ("HU" if self.modality == "CT" else "US")
            is_rescaled = all(item.frame.has_rescale for item in self.sources)
            out.RescaleType = stated if is_rescaled else "US"
        if self.encoding.padding is not None:
            out.add_new(0x00280120, "SS" if self.encoding.signed else "US", self.encoding.padding)

    def _describe_derivation(self) -> str:
        """Return in words what was done, at most 1024 characters."""
        facts = self.provenance
        parts = ["resampled"]
        if facts.model:
            parts = [f"super-resolved by model {facts.model}, estimated and not acquired"]
        if facts.scale:
            parts.append(f"scale {facts.scale} (z y x)")
        if self.acquired:
            spacing = f"slice spacing {self.source_step:.4g} mm"
            parts.append(f"acquired slice thickness {self.acquired:g} mm, {spacing}")
        parts += self.repairs
        if self.sources and self.made:
            parts.append(f"{' and '.join(self.made)} absent in the source and made here")
        return "; ".join(parts)[:1024]


def _read_text(header: Dataset, name: str) -> str:
    """Return a text as one value; a backslash in it, which separates values, becomes a slash."""
    value = header.get(name) or ""
    return value if isinstance(value, str) else "/".join(str(part) for part in value)


def _choose_series_number(header: Dataset) -> int:
    """Return the source's number (0 if it has none) + 1000, as converters do, within an integer string."""
    try:
        number = int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):  # several values, or not a number
        number = 0
    return min(max(number + 1000, 1), 2**31 - 1)


def _describe_repairs(frames: list[Frame]) -> list[str]:
    """Return in words what a reader had to interpolate before slices like these were a volume."""
    repairs = []
    if len(frames) > 1 and tilt_problems(frames):
        repairs.append(TILTED)
    if len(frames) > 1 and any(problem.policy == "on_missing" for problem in spacing_problems(frames)):
        repairs.append(FILLED)
    return repairs


def _keep_or_format(stated: Any, numbers: Any, wanted: np.ndarray) -> list[Any]:
    """Return the source's decimal strings where they mean the wanted numbers and fit, else new ones."""
    if stated is not None and numbers is not None and np.allclose(numbers, wanted, rtol=0, atol=SAME):
        texts = [str(v) for v in stated]
        if all(len(text) <= 16 for text in texts):
            return list(stated)
        return [ds_text(v) for v in numbers]
    return [ds_text(v) for v in wanted]


def _hash_pixels(matrix: np.ndarray, encoding: Encoding, planes: Sequence[np.ndarray]) -> str:
    """Return a hash of the grid, the scaling and all stored pixels."""
    digest = hashlib.sha256(np.ascontiguousarray(matrix.round(9)).tobytes())
    digest.update(repr((encoding.slope, encoding.intercept, encoding.padding)).encode())
    for plane in planes:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def _make_reference(items: list[SourceSlice]) -> Dataset:
    """Return the item of SourceImageSequence for the slices of one file."""
    out = Dataset()
    out.ReferencedSOPClassUID = UID(items[0].class_uid)
    out.ReferencedSOPInstanceUID = UID(items[0].instance_uid)
    frames = [item.frame for item in items if item.frame.is_enhanced]
    numbers = [frame.index + 1 for frame in frames if frame.index is not None]
    if numbers:
        out.ReferencedFrameNumber = sorted(numbers)
    out.PurposeOfReferenceCodeSequence = code_sequence("source")
    return out
