"""Enhanced multi-frame files: the functional groups of each frame become a `Frame`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.filereader import read_partial

from sr_imaging.io.dicom.frame import BROKEN_FILE, PIXEL_DATA, Frame, LeftOutError, StopAfter

from .rescale import rescale_facts

__all__ = ["enhanced_frames", "frame_element"]

# What may tell apart times of one motion, or weightings of one contrast.
FURTHER_KEYS = (
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ("MRModifierSequence", "InversionTimes"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
)


def enhanced_frames(path: Path, base: Frame) -> list[Frame]:
    """Return all frames of an enhanced CT, MR or PET file in its order; `base` is its top level."""
    try:
        with path.open("rb") as file:
            stop = StopAfter(file, PIXEL_DATA - 1)
            dataset = read_partial(file, stop)
        count = int(dataset.get("NumberOfFrames") or 1)
        base = replace(base, pixels_at=stop.pixels_at(base, count))
        shared = _first_item(dataset.get("SharedFunctionalGroupsSequence"))
        own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        if len(own) not in (0, count):
            raise LeftOutError(
                f"damaged: {count} frames but functional groups for {len(own)}; export it again"
            )
        return [_make_frame(base, k, own[k] if own else Dataset(), shared) for k in range(count)]
    except BROKEN_FILE as error:
        raise LeftOutError(f"damaged functional groups ({type(error).__name__}); export it again") from error


def frame_element(dataset: Dataset, index: int, group: str, name: str) -> DataElement | None:
    """Return an attribute of a frame, counted from 0, from its own functional groups or the shared ones."""
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1]
    return _find_element((*own, *(dataset.get("SharedFunctionalGroupsSequence") or [])), group, name)


def _find_element(groups: Iterable[Dataset], group: str, name: str) -> DataElement | None:
    """Return an attribute from the first functional groups that have it, or None."""
    for one in groups:
        item = next(iter(one.get(group) or []), None)
        if item is not None and item.get(name) is not None:
            element: DataElement = item[name]
            return element
    return None


def _first_item(sequence: Any) -> Dataset:
    """Return the first item of a sequence; an empty data set where there is none."""
    return next(iter(sequence or []), Dataset())


def _make_frame(base: Frame, index: int, own: Dataset, shared: Dataset) -> Frame:
    """Return one frame from its own functional groups, else the shared ones."""

    def get(group: str, name: str) -> Any:
        element = _find_element((own, shared), group, name)
        return None if element is None else element.value

    spacing = _to_vector(get("PixelMeasuresSequence", "PixelSpacing"), 2)
    pair = [get("PixelValueTransformationSequence", name) for name in ("RescaleSlope", "RescaleIntercept")]
    slope, intercept = ([] if value is None else [str(value)] for value in pair)
    rescale = rescale_facts(slope, intercept) if slope or intercept else {}
    return replace(
        base,
        **rescale,
        index=index,
        position=_to_vector(get("PlanePositionSequence", "ImagePositionPatient"), 3),
        orientation=_to_vector(get("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        pixel_spacing=None
        if spacing is None or min(spacing) <= 0
        else (float(spacing[0]), float(spacing[1])),
        thickness=_to_float(get("PixelMeasuresSequence", "SliceThickness")),
        slice_gap=_to_float(get("PixelMeasuresSequence", "SpacingBetweenSlices")) or base.slice_gap,
        rescale_type=str(get("PixelValueTransformationSequence", "RescaleType") or base.rescale_type),
        instance_number=str(index + 1),
        keys=dict(_collect_keys(get, own)),
    )


def _collect_keys(get: Callable[[str, str], Any], own: Dataset) -> Iterator[tuple[str, str]]:
    """Yield what may tell contrasts of one file apart, under the names that single-frame series use."""
    frame_type = [
        str(part)
        for group in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")
        for part in get(group, "FrameType") or ()
    ]
    component = get("MRImageFrameTypeSequence", "ComplexImageComponent")  # magnitude, phase, real, …
    content = _first_item(own.get("FrameContentSequence"))
    direction = _first_item(get("MRDiffusionSequence", "DiffusionGradientDirectionSequence"))
    yield "EffectiveEchoTime", str(get("MREchoSequence", "EffectiveEchoTime") or "")
    yield "TemporalPositionIdentifier", str(content.get("TemporalPositionIndex") or "")
    yield "DiffusionBValue", _to_text(get("MRDiffusionSequence", "DiffusionBValue"))
    yield "ConvolutionKernel", _to_text(get("CTReconstructionSequence", "ConvolutionKernel"))
    yield "DiffusionGradientOrientation", _to_text(direction.get("DiffusionGradientOrientation"))
    for group, name in FURTHER_KEYS:
        yield name, _to_text(get(group, name))
    yield "component", "\\".join([*frame_type, *([str(component)] if component else [])])
    yield "ImageType", "\\".join(frame_type)
    yield "AcquisitionNumber", str(content.get("FrameAcquisitionNumber") or "")
    yield "AcquisitionTime", str(content.get("FrameAcquisitionDateTime") or "")
    yield "StackID", str(content.get("StackID") or "")


def _to_text(value: Any) -> str:
    """Return a value as text, empty for None; 0 is a value."""
    return "" if value is None else str(value)


def _to_vector(values: Any, count: int) -> np.ndarray | None:
    """Return `count` finite numbers as an array, or None."""
    if values is None or np.size(values) != count:
        return None
    vector = np.array([float(v) for v in values])
    return vector if np.isfinite(vector).all() else None


def _to_float(value: Any) -> float | None:
    """Return a number, or None."""
    return None if value is None else float(value)
