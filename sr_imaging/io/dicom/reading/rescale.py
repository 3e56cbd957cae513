"""Whether the stored pixels of slices can be turned into modality values, and what those are worth."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import Problem, some_names

__all__ = ["ALLOCATED", "rescale_facts", "value_notes", "value_problems"]

ALLOCATED = (8, 16, 32)  # bits of a pixel that can be decoded
# In what slices of one volume should agree; they can be read where they do not.
DIFFERING: dict[str, Callable[[Frame], str]] = {
    "PhotometricInterpretation": lambda frame: frame.photometric,
    "RescaleType": lambda frame: frame.rescale_type,
    "ConvolutionKernel": lambda frame: frame.keys.get("ConvolutionKernel", ""),
}
SAME_THICKNESS = 0.01  # relative; below it a difference is rounding of the header


def rescale_facts(slope: Sequence[str], intercept: Sequence[str]) -> dict[str, Any]:
    """Return the three rescaling fields of a `Frame` from the texts of both elements."""
    fault = _describe_fault(slope, intercept)
    is_known = bool(slope) and not fault
    return {
        "rescale": (_parse_number(slope), _parse_number(intercept)) if is_known else (1.0, 0.0),
        "has_rescale": bool(slope or intercept),
        "rescale_fault": fault,
    }


def _describe_fault(slope: Sequence[str], intercept: Sequence[str]) -> str:
    """Return what slices have where the pair cannot be applied; empty where it can, or both are absent."""
    if bool(slope) != bool(intercept):
        return (
            "no RescaleIntercept beside RescaleSlope" if slope else "no RescaleSlope beside RescaleIntercept"
        )
    for name, texts in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if texts and _parse_number(texts) is None:
            return f"a {name} that is not one finite number"
    return "a RescaleSlope of 0" if _parse_number(slope) == 0 else ""


def _parse_number(texts: Sequence[str]) -> float | None:
    """Return the one finite number of a decimal string, or None."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers[0] if len(numbers) == 1 and math.isfinite(numbers[0]) else None


def value_problems(frames: Sequence[Frame]) -> list[Problem]:
    """Return why the modality values of slices are not known; empty where they are."""
    odd = [frame for frame in frames if frame.bits[0] not in ALLOCATED]
    if odd:
        return [_name_slices(frames, odd, f"have {odd[0].bits[0]} bits allocated, not 8, 16 or 32")]
    rescaled = [frame for frame in frames if not frame.has_lut]
    faulty = [frame for frame in rescaled if frame.rescale_fault]
    if faulty:
        return [_name_slices(frames, faulty, f"have {faulty[0].rescale_fault}")]
    bare = [frame for frame in rescaled if not frame.has_rescale]
    if 0 < len(bare) < len(rescaled):
        return [
            _name_slices(frames, bare, "have no RescaleSlope and RescaleIntercept, which the others have")
        ]
    return []


def _name_slices(frames: Sequence[Frame], bad: list[Frame], what: str) -> Problem:
    """Return a problem that counts and names the slices that have it."""
    names = some_names([frame.name for frame in bad])
    return Problem(f"{len(bad)} of {len(frames)} slices {what} ({names})", "export the series again")


def value_notes(frames: Sequence[Frame]) -> list[str]:
    """Return what is odd about the values of slices that can be read."""
    notes = []
    if frames[0].modality == "CT" and not any(frame.has_rescale or frame.has_lut for frame in frames):
        notes.append(
            "CT without RescaleSlope and RescaleIntercept: its values are as stored, of unknown unit"
        )
    differing = [name for name, get in DIFFERING.items() if len({get(frame) for frame in frames}) > 1]
    if differing:
        notes.append(f"slices differ in {' and '.join(differing)}; they are read as one volume all the same")
    thick = [frame.thickness for frame in frames if frame.thickness is not None]
    if thick and max(thick) - min(thick) > SAME_THICKNESS * max(thick):
        notes.append(f"slices are {min(thick):g} to {max(thick):g} mm thick")
    return notes
