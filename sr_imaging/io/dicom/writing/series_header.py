"""What the slices of a derived series share: grid, scaling, provenance, and the sources of each slice."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID

from sr_imaging import __version__
from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import tilt, uneven

from .carried_header import new_header
from .derived_header import Provenance, SourceSlice, code, identify, stamp
from .encoding import Encoding, ds_text

__all__ = ["SeriesFacts"]

SAME = 1e-6  # deviation of a cosine or a spacing from the source's own, which is then kept word for word

TILTED = "slices shifted by gantry tilt, straightened by linear interpolation"
FILLED = "missing source slices filled by linear interpolation"


class SeriesFacts:
    """What all slices of a new series share, and the header of each.

    Parameters
    ----------
    da : DataArray
        The volume with its ``volume_ref`` and model facts.
    matrix : (4, 4) ndarray
        Its affine.
    modality : str
        ``CT`` or ``MR``.
    encoding : Encoding
        How its values are stored.
    sources : list of SourceSlice
        Empty for a new series.
    planes : sequence of (y, x) ndarray
        Stored pixels, for the identifiers.
    dated : bool
        Whether the slices say when they were made.
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
        self.provenance = _provenance(da, dated=dated)
        uid = str(self.reference.get("frame_of_reference_uid", ""))
        self.uids, self.made = identify(sources, self.provenance, _digest(matrix, encoding, planes), uid)
        self.along = np.array([item.frame.position @ self.normal for item in sources])
        self.source_step = self._source_step()
        self.repairs = _repairs([item.frame for item in sources])
        self.shared = self._shared()

    def header(self, index: int) -> Dataset:
        """Return the header of one slice.

        Parameters
        ----------
        index : int
            Number of the slice from 0.

        Returns
        -------
        Dataset
            Complete but for rows, columns and pixels.
        """
        position = (self.matrix @ [index, 0, 0, 1])[:3]
        seen = self._seen(float(position @ self.normal))
        base = seen[0].header if seen else new_header(self.modality)
        out = stamp(
            base, modality=self.modality, index=index, position=position, normal=self.normal, uids=self.uids
        )
        out.update(self.shared)
        if TILTED in self.repairs:
            out.pop("GantryDetectorTilt", None)  # some readers would straighten the slices again
        references = DicomSequence(self._references(seen))
        if references:
            out.SourceImageSequence = references
        own = _equipment(self.provenance)
        out.ContributingEquipmentSequence = DicomSequence(
            [*base.get("ContributingEquipmentSequence", []), own]
        )
        return out

    def _source_step(self) -> float:
        """Distance of source slices in mm; 0 without a source."""
        if len(self.along) > 1:
            return float(np.median(np.diff(np.sort(self.along))))  # whatever slices are missing
        return float(self.sources[0].frame.thickness or self.spacing[0]) if self.sources else 0.0

    def _seen(self, place: float) -> list[SourceSlice]:
        """Source slices that the model sees for a place, or the nearest one; nearest first."""
        if not self.sources:
            return []
        distance = np.abs(self.along - place)
        order = np.argsort(distance, kind="stable")
        near = [int(k) for k in order if distance[k] < self.source_step * self.provenance.reach]
        return [self.sources[k] for k in near or [int(order[0])]]

    def _references(self, seen: list[SourceSlice]) -> list[Dataset]:
        """Name each seen file once, in the order of the source, with the frames seen of an enhanced one."""
        wanted = {id(item) for item in seen if item.instance_uid}
        files: dict[str, list[SourceSlice]] = {}
        for item in self.sources:
            if id(item) in wanted:
                files.setdefault(item.instance_uid, []).append(item)
        return [_reference(items) for items in files.values()]

    def _shared(self) -> Dataset:
        """Attributes that are equal in all slices."""
        first = self.sources[0].header if self.sources else Dataset()
        out = Dataset()
        now = self.provenance.now
        out.ContentDate = out.ContentTime = ""
        if now is not None:
            for name in ("InstanceCreation", "Series", "Content"):
                setattr(out, f"{name}Date", now.strftime("%Y%m%d"))
                setattr(out, f"{name}Time", now.strftime("%H%M%S"))
        out.SeriesNumber = _series_number(first)
        text = _text(first, "SeriesDescription")
        label = f"SR {self.provenance.scale}".strip() if self.provenance.model else "resampled"
        out.SeriesDescription = f"{text[: 63 - len(label)]} {label}".strip()[:64]
        out.DerivationDescription = self._description()
        out.DerivationCodeSequence = code("derivation")
        self._set_grid(out, first)
        self._set_values(out, first)
        lossy = next(
            (item.header for item in self.sources if item.header.get("LossyImageCompression") == "01"), None
        )
        for name in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if lossy is not None and name in lossy:
                out[name] = lossy[name]
        return out

    def _set_grid(self, out: Dataset, first: Dataset) -> None:
        """Spacing, thickness and orientation; what did not change stays as the source wrote it."""
        frame = self.sources[0].frame if self.sources else None
        cosines = np.concatenate([self.unit[:, 2], self.unit[:, 1]])
        spacing = self.spacing[1:]
        out.ImageOrientationPatient = _kept(
            first.get("ImageOrientationPatient"), None if frame is None else frame.orientation, cosines
        )
        out.PixelSpacing = _kept(
            first.get("PixelSpacing"), None if frame is None else frame.pixel_spacing, spacing
        )
        out.SpacingBetweenSlices = ds_text(self.spacing[0])
        thickness = self._thickness()
        out.SliceThickness = None if thickness is None else ds_text(thickness)

    def _thickness(self) -> float | None:
        """Slice thickness on the new grid: the array's, else the source's by the factor, else unknown."""
        stated = self.reference.get("slice_thickness")
        acquired = self.sources[0].frame.thickness if self.sources else None
        if stated is None and acquired and self.source_step:
            return float(acquired * self.spacing[0] / self.source_step)
        return float(stated) if stated else None

    def _set_values(self, out: Dataset, first: Dataset) -> None:
        """How pixels are stored and what they mean."""
        out.SamplesPerPixel = 1
        out.PhotometricInterpretation = _text(first, "PhotometricInterpretation") or "MONOCHROME2"
        out.BitsAllocated, out.BitsStored, out.HighBit = 16, self.encoding.bits, self.encoding.bits - 1
        out.PixelRepresentation = int(self.encoding.signed)
        identity = (self.encoding.slope, self.encoding.intercept) == (1, 0)
        if self.modality == "CT" or not identity or any(item.frame.rescale_type for item in self.sources):
            out.RescaleSlope, out.RescaleIntercept = (
                ds_text(v) for v in (self.encoding.slope, self.encoding.intercept)
            )
            stated = _text(first, "RescaleType") or ("HU" if self.modality == "CT" else "US")
            is_rescaled = all(item.frame.has_rescale for item in self.sources)
            out.RescaleType = stated if is_rescaled else "US"
        if self.encoding.padding is not None:
            out.add_new(0x00280120, "SS" if self.encoding.signed else "US", self.encoding.padding)

    def _description(self) -> str:
        """Say in words what was done; at most 1024 characters."""
        facts = self.provenance
        parts = ["resampled"]
        if facts.model:
            parts = [f"super-resolved by model {facts.model}, estimated and not acquired"]
        if facts.scale:
            parts.append(f"scale {facts.scale} (z y x)")
        acquired = self.sources[0].frame.thickness if self.sources else None
        if acquired:
            parts.append(f"acquired slice thickness {acquired:g} mm, slice spacing {self.source_step:.4g} mm")
        parts += self.repairs
        if self.sources and self.made:
            parts.append(f"{' and '.join(self.made)} absent in the source and made here")
        return "; ".join(parts)[:1024]


def _text(header: Dataset, name: str) -> str:
    """A text of one value; a backslash in it, which parts values, becomes a slash."""
    value = header.get(name) or ""
    return value if isinstance(value, str) else "/".join(str(part) for part in value)


def _series_number(header: Dataset) -> int:
    """The source's + 1000, as converters do, within what an integer string holds; 1000 where it has none."""
    try:
        number = int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):  # several values, or no number
        number = 0
    return min(max(number + 1000, 1), 2**31 - 1)


def _repairs(frames: list[Frame]) -> list[str]:
    """Say in words what a reader had to interpolate before slices like these were a volume."""
    if len(frames) < 2:
        return []
    gaps = any(problem.policy == "on_missing" for problem in uneven(frames))
    return [*[TILTED] * bool(tilt(frames)), *[FILLED] * gaps]


def _kept(stated: Any, numbers: Any, wanted: np.ndarray) -> list[Any]:
    """The source's own decimal strings where they mean the same and fit, else new ones."""
    if stated is not None and numbers is not None and np.allclose(numbers, wanted, rtol=0, atol=SAME):
        texts = [str(v) for v in stated]
        if all(len(text) <= 16 for text in texts):
            return list(stated)
        return [ds_text(v) for v in numbers]
    return [ds_text(v) for v in wanted]


def _provenance(da: xr.DataArray, *, dated: bool) -> Provenance:
    """Read the model facts from the attributes of the array."""

    def text(name: str) -> str:
        value = da.attrs.get(name, "")
        return value if isinstance(value, str) else " ".join(f"{float(v):g}" for v in np.atleast_1d(value))

    return Provenance(
        model=text("sr_model"),
        sha256=text("sr_model_sha256"),
        version=text("sr_version") or __version__,
        scale=text("sr_scale"),
        precision=text("sr_precision"),
        device=text("sr_device"),
        reach=_reach(text("sr_halo").split()),
        now=datetime.now() if dated else None,
    )


def _reach(halo: list[str]) -> float:
    """How far off a place source slices were seen, in their steps; both neighbours where the array is silent.

    The halo counts from the slice that the place belongs to, which lies up to half a step off.
    """
    if not halo:
        return 1.001
    return (int(halo[-3]) if len(halo) >= 3 else 0) + 0.5


def _digest(matrix: np.ndarray, encoding: Encoding, planes: Sequence[np.ndarray]) -> str:
    """Hash of the grid, the scaling and all stored pixels."""
    digest = hashlib.sha256(np.ascontiguousarray(matrix.round(9)).tobytes())
    digest.update(repr((encoding.slope, encoding.intercept, encoding.padding)).encode())
    for plane in planes:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def _reference(items: list[SourceSlice]) -> Dataset:
    """One item of the Source Image Sequence, for the slices of one file."""
    out = Dataset()
    out.ReferencedSOPClassUID = UID(items[0].class_uid)
    out.ReferencedSOPInstanceUID = UID(items[0].instance_uid)
    frames = [item.frame for item in items if item.frame.is_enhanced]
    numbers = [frame.index + 1 for frame in frames if frame.index is not None]
    if numbers:
        out.ReferencedFrameNumber = sorted(numbers)
    out.PurposeOfReferenceCodeSequence = code("source")
    return out


def _equipment(facts: Provenance) -> Dataset:
    """The item of the Contributing Equipment Sequence that names this program and the model."""
    out = Dataset()
    out.Manufacturer = "sr_imaging developers"
    out.ManufacturerModelName = "sr_imaging"
    out.SoftwareVersions = facts.version[:64]
    if facts.now is not None:
        out.ContributionDateTime = facts.now.strftime("%Y%m%d%H%M%S")
    model = [f"model {facts.model}", f"SHA-256 {facts.sha256}"] if facts.model else ["no model"]
    arithmetic = [part for part in (facts.precision, facts.device) if part]
    out.ContributionDescription = ", ".join([*model, *arithmetic])[:1024]
    out.PurposeOfReferenceCodeSequence = code("equipment")
    return out
