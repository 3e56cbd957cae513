"""Enhanced multi-frame files: each frame's functional groups as a frame of its own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.filereader import read_partial

from sr_imaging.io.dicom.frame import BROKEN_FILE, PIXEL_DATA, Frame, LeftOutError, StopAfter

from .rescale import rescale_facts

__all__ = ["enhanced_frames", "frame_element"]

# What may tell times of one motion, or weightings of one contrast, apart.
FURTHER_KEYS = (
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ("MRModifierSequence", "InversionTimes"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
)


def enhanced_frames(path: Path, base: Frame) -> list[Frame]:
    """Read the geometry and scaling of every frame of an enhanced CT, MR or PET file.

    Parameters
    ----------
    path : Path
        An enhanced multi-frame file.
    base : Frame
        What its top level says.

    Returns
    -------
    list of Frame
        In the order of the file; a frame without position has ``position=None``.

    Raises
    ------
    LeftOutError
        If the functional groups are damaged.
    """
    try:
        with path.open("rb") as file:
            stop = StopAfter(file, PIXEL_DATA - 1)
            dataset = read_partial(file, stop)
        count = int(dataset.get("NumberOfFrames") or 1)
        base = replace(base, pixels_at=stop.pixels_at(base, count))
        shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
        own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        if len(own) not in (0, count):
            raise LeftOutError(
                f"damaged: {count} frames but functional groups for {len(own)}; export it again"
            )
        return [_frame(base, index, own[index] if own else Dataset(), shared) for index in range(count)]
    except BROKEN_FILE as error:
        raise LeftOutError(f"damaged functional groups ({type(error).__name__}); export it again") from error


def frame_element(dataset: Dataset, index: int, group: str, name: str) -> DataElement | None:
    """Return an attribute of a frame as it is written.

    Parameters
    ----------
    dataset : Dataset
        An enhanced file.
    index : int
        Number of the frame from 0.
    group, name : str
        Keywords of the functional group's sequence and of the attribute in it.

    Returns
    -------
    DataElement or None
        From the frame's own groups, else the shared ones; None where both lack it.
    """
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1]
    for groups in (*own, *(dataset.get("SharedFunctionalGroupsSequence") or [])):
        item = next(iter(groups.get(group) or []), None)
        if item is not None and item.get(name) is not None:
            element: DataElement = item[name]
            return element
    return None


def _frame(base: Frame, index: int, own: Dataset, shared: Dataset) -> Frame:
    """One frame: its own functional groups, else the shared ones."""

    def get(group: str, name: str) -> Any:
        for groups in (own, shared):
            item = next(iter(groups.get(group) or []), None)
            if item is not None and item.get(name) is not None:
                return item.get(name)
        return None

    position = get("PlanePositionSequence", "ImagePositionPatient")
    orientation = get("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _vector(get("PixelMeasuresSequence", "PixelSpacing"), 2)
    slope, intercept = (
        [] if value is None else [str(value)]
        for value in (
            get("PixelValueTransformationSequence", f"Rescale{end}") for end in ("Slope", "Intercept")
        )
    )
    rescale = rescale_facts(slope, intercept) if slope or intercept else {}
    return replace(
        base,
        **rescale,
        index=index,
        position=_vector(position, 3),
        orientation=_vector(orientation, 6),
        pixel_spacing=None
        if spacing is None or min(spacing) <= 0
        else (float(spacing[0]), float(spacing[1])),
        thickness=_float(get("PixelMeasuresSequence", "SliceThickness")),
        slice_gap=_float(get("PixelMeasuresSequence", "SpacingBetweenSlices")) or base.slice_gap,
        rescale_type=str(get("PixelValueTransformationSequence", "RescaleType") or base.rescale_type),
        instance_number=str(index + 1),
        keys=dict(_keys(get, own)),
    )


def _keys(get: Any, own: Dataset) -> Iterator[tuple[str, str]]:
    """What may tell contrasts of one file apart, under the names that single-frame series use."""
    frame_type = [
        str(part)
        for group in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")
        for part in get(group, "FrameType") or ()
    ]
    content = next(iter(own.get("FrameContentSequence") or []), Dataset())
    yield "EffectiveEchoTime", str(get("MREchoSequence", "EffectiveEchoTime") or "")
    yield "TemporalPositionIdentifier", str(content.get("TemporalPositionIndex") or "")
    yield "DiffusionBValue", _text(get("MRDiffusionSequence", "DiffusionBValue"))
    yield "ConvolutionKernel", _text(get("CTReconstructionSequence", "ConvolutionKernel"))
    yield "DiffusionGradientOrientation", _direction(get)
    for group, name in FURTHER_KEYS:
        yield name, _text(get(group, name))
    yield "component", "\\".join([*frame_type, *_component(get)])
    yield "ImageType", "\\".join(frame_type)
    yield "AcquisitionNumber", str(content.get("FrameAcquisitionNumber") or "")
    yield "AcquisitionTime", str(content.get("FrameAcquisitionDateTime") or "")
    yield "StackID", str(content.get("StackID") or "")


def _direction(get: Any) -> str:
    """Gradient direction of a diffusion frame."""
    item = next(iter(get("MRDiffusionSequence", "DiffusionGradientDirectionSequence") or []), Dataset())
    return _text(item.get("DiffusionGradientOrientation"))


def _text(value: Any) -> str:
    """A comparable text of a value; 0 is one, and None is none."""
    return "" if value is None else str(value)


def _component(get: Any) -> list[str]:
    """Magnitude, phase, real, … of an MR frame."""
    value = get("MRImageFrameTypeSequence", "ComplexImageComponent")
    return [str(value)] if value else []


def _vector(values: Any, count: int) -> np.ndarray | None:
    """Return `count` finite numbers as an array, or None."""
    if values is None or np.size(values) != count:
        return None
    vector = np.array([float(v) for v in values])
    return vector if np.isfinite(vector).all() else None


def _float(value: Any) -> float | None:
    """Return a number, or None."""
    return None if value is None else float(value)
