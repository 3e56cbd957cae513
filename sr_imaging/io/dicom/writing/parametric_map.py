"""A volume of floats becomes a DICOM Parametric Map: one multi-frame file that keeps every digit."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from sr_imaging.errors import WriteError
from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.dicom.tags import CODES
from sr_imaging.io.scan import Scan

from .carried_header import new_header
from .deidentify import anonymous_array, anonymous_sources
from .derived_header import SourceSlice, class_uid
from .encoding import Encoding, ds_text
from .provenance import make_equipment
from .series_header import LOSSY_FACTS, SeriesFacts
from .source import fill_value, source_slices, volume_matrix, volume_planes

__all__ = ["write_map"]

LARGEST = 2**32 - 2  # bytes of an element, PS3.5 chapter 7
UNITS = {"HU": Code("[hnsf'U]", "UCUM", "Hounsfield unit")}
NO_UNIT = Code("1", "UCUM", "no units")
# highdicom validates these and quotes them in its log and errors: it gets none; they are added afterwards.
VALIDATED = (
    *("SpecificCharacterSet", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
)


def write_map(da: xr.DataArray, path: Path, source: Scan | None, *, deidentify: bool = False) -> None:
    """Write a volume as a Parametric Map (DICOM PS3.3 A.75) with float32 pixels, in the study of its source.

    NaN stays NaN, and the fill value becomes NaN. `deidentify` leaves out what may identify the patient and
    replaces identifiers. Raises WriteError if highdicom is not installed, the array is not a volume in
    patient space, there is no source or it does not fit, or the volume has 4 GiB or more.
    """
    if source is None:
        raise WriteError(
            "a parametric map names the series that it was made from; pass source=, or write NIfTI"
        )
    try:
        import highdicom
    except ImportError as error:
        raise WriteError(
            "a parametric map needs highdicom; pip install 'sr-imaging[parametric-map]', or write NIfTI"
        ) from error
    matrix, modality = volume_matrix(da), source.modality or ""
    values = _convert_to_floats(da)
    with quiet_pydicom():
        sources = source_slices(da, source, modality)
        if deidentify:
            da, sources = anonymous_array(da), anonymous_sources(sources)
        facts = SeriesFacts(
            da,
            matrix=matrix,
            modality=modality,
            encoding=Encoding(1.0, 0.0, 16, False),
            sources=sources,
            planes=list(values),
            dated=not deidentify,
        )
        made = _make_map(highdicom, facts, values, str(da.attrs.get("units", "")))
        _complete_map(made, facts)
        made.save_as(path)


def _convert_to_floats(da: xr.DataArray) -> np.ndarray:
    """Return the voxels of a volume, float32 (z, y, x), invalid ones NaN."""
    values, fill = volume_planes(da), fill_value(da)
    floats = values.astype(np.float32)
    if fill is not None:
        floats[values == fill] = np.nan
    floats[~np.isfinite(floats)] = np.nan
    if floats.nbytes > LARGEST:
        raise WriteError(
            f"a parametric map holds 4 GiB, not {floats.nbytes / 2**30:.3g} GiB; write Zarr instead"
        )
    if not np.isfinite(floats).any():
        raise WriteError("a parametric map needs at least one valid voxel; check the mask")
    return floats


def _make_map(highdicom: Any, facts: SeriesFacts, values: np.ndarray, unit: str) -> Dataset:
    """Return the map with its frames as highdicom makes it."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    first = facts.sources[0].header
    center, width = _choose_window(first, low, high)
    uid = facts.uids["FrameOfReferenceUID"]
    volume = highdicom.Volume(values, facts.matrix, coordinate_system="PATIENT", frame_of_reference_uid=uid)
    meaning = UNITS.get(unit, NO_UNIT)
    made: Dataset = highdicom.pm.ParametricMap(
        _make_source_images(facts),
        volume,
        series_instance_uid=facts.uids["SeriesInstanceUID"],
        series_number=int(facts.shared.SeriesNumber),
        sop_instance_uid=generate_uid(entropy_srcs=[facts.uids["SeriesInstanceUID"], "map"]),
        instance_number=1,
        manufacturer="sr_imaging developers",
        manufacturer_model_name="sr_imaging",
        software_versions=facts.provenance.version,
        device_serial_number="none",
        contains_recognizable_visual_features=first.get("RecognizableVisualFeatures") != "NO",
        real_world_value_mappings=[
            highdicom.pm.RealWorldValueMapping(
                unit[:16] or "values", meaning.meaning, meaning, (low, high), slope=1.0, intercept=0.0
            )
        ],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=center, window_width=width)],
        content_description=str(facts.shared.DerivationDescription)[:64],
        derivation=Code(CODES["derivation"][0], "DCM", CODES["derivation"][1]),
    )
    return made


def _choose_window(header: Dataset, low: float, high: float) -> tuple[float, float]:
    """Return centre and width of the source's window, else one over all values."""
    ends = [np.atleast_1d(header.get(name) or []) for name in ("WindowCenter", "WindowWidth")]
    try:
        center, width = (float(end[0]) for end in ends)
    except (IndexError, ValueError):  # absent, or not a number
        center, width = 0.0, 0.0
    if width >= 1:
        return center, width
    return float(ds_text((low + high) / 2)), float(ds_text(max(high - low, 1)))


def _make_source_images(facts: SeriesFacts) -> list[Dataset]:
    """Return a header for each source file, complete in what highdicom takes over."""
    files: dict[str, SourceSlice] = {}
    for item in facts.sources:
        files.setdefault(item.instance_uid, item)
    images = []
    for uid, item in files.items():
        image = new_header(facts.modality)
        image.update(item.header)
        # one of an enhanced class would need its functional groups; _complete_map names the true class
        image.SOPClassUID, image.SOPInstanceUID = UID(class_uid(facts.modality)), UID(uid)
        image.StudyInstanceUID = UID(facts.uids["StudyInstanceUID"])
        image.FrameOfReferenceUID = UID(facts.uids["FrameOfReferenceUID"])
        if not image.get("SeriesInstanceUID"):
            image.SeriesInstanceUID = generate_uid(entropy_srcs=[facts.uids["StudyInstanceUID"], "source"])
        image.update(_describe_grid(item.frame))
        for name in VALIDATED:
            image.pop(name, None)  # not changed in place: the source's header shares its elements
            setattr(image, name, None if name == "SpecificCharacterSet" else "")
        images.append(image)
    return images


def _describe_grid(frame: Frame) -> Dataset:
    """Return the grid of a slice, which the header of an enhanced file does not state."""
    out = Dataset()
    out.Rows, out.Columns = frame.rows, frame.columns
    out.SliceThickness = ds_text(frame.thickness or 0)
    for name, numbers in (
        ("ImagePositionPatient", frame.position),
        ("ImageOrientationPatient", frame.orientation),
        ("PixelSpacing", frame.pixel_spacing),
    ):
        if numbers is not None:
            setattr(out, name, [ds_text(v) for v in numbers])
    return out


def _complete_map(made: Dataset, facts: SeriesFacts) -> None:
    """Set what highdicom leaves out or makes at random: derivation, loss, side, identifiers."""
    first = facts.sources[0].header
    for name in VALIDATED:
        if name in first:
            made[name] = first[name]
    made.SeriesDescription = facts.shared.SeriesDescription
    own = make_equipment(facts.provenance)
    words = f"{own.ContributionDescription}; {facts.shared.DerivationDescription}"
    own.ContributionDescription = words[:1024]
    made.ContributingEquipmentSequence = [*made.get("ContributingEquipmentSequence", []), own]
    for name in LOSSY_FACTS:
        if name in facts.shared:
            made[name] = facts.shared[name]
    made.BurnedInAnnotation = first.get("BurnedInAnnotation") or "NO"
    made.Laterality = first.get("Laterality", "")
    uid = generate_uid(entropy_srcs=[facts.uids["SeriesInstanceUID"], "dimensions"])
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
    groups = made.SharedFunctionalGroupsSequence[0]
    measures = groups.PixelMeasuresSequence[0]
    for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):  # highdicom keeps the source's
        measures[name] = facts.shared[name]
    if measures.SliceThickness is None:  # unknown, and may not be empty here (PS3.3 C.7.6.16.2.1)
        measures.SliceThickness = measures.SpacingBetweenSlices
    groups.PlaneOrientationSequence[0]["ImageOrientationPatient"] = facts.shared["ImageOrientationPatient"]
    _correct_classes(made, {item.instance_uid: item.class_uid for item in facts.sources})
    if facts.provenance.now is None:
        _remove_dates(made)


def _correct_classes(dataset: Dataset, classes: dict[str, str]) -> None:
    """Give references, at any depth, the class of the instance that they name."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if item.get("ReferencedSOPInstanceUID") in classes:
                    item.ReferencedSOPClassUID = UID(classes[item.ReferencedSOPInstanceUID])
                _correct_classes(item, classes)


def _remove_dates(made: Dataset) -> None:
    """Remove every date and time of the derivation."""
    for name in ("InstanceCreationDate", "InstanceCreationTime"):
        if name in made:
            delattr(made, name)
    made.ContentDate, made.ContentTime = "19000101", "000000"  # may not be empty
    for item in made.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
