"""Whether the stored pixels of slices can be turned into modality values, and what those are worth."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import Problem, some_names

__all__ = ["rescale_facts", "value_notes", "value_problems"]

ALLOCATED = (8, 16, 32)  # bits of a pixel that can be decoded
# What slices of one volume should agree in, though each can be read without.
DIFFERING: dict[str, Callable[[Frame], str]] = {
    "PhotometricInterpretation": lambda frame: frame.photometric,
    "RescaleType": lambda frame: frame.rescale_type,
    "ConvolutionKernel": lambda frame: frame.keys.get("ConvolutionKernel", ""),
}
SAME_THICKNESS = 0.01  # relative; below it a difference is rounding of the header
AGAIN = "export the series again"


def rescale_facts(slope: Sequence[str], intercept: Sequence[str]) -> dict[str, Any]:
    """Return what a frame says of its rescaling.

    Parameters
    ----------
    slope, intercept : sequence of str
        The values of RescaleSlope and RescaleIntercept; empty where they are absent or empty.

    Returns
    -------
    dict
        ``rescale``, ``has_rescale`` and ``rescale_fault`` of a :class:`~.dicom_frame.Frame`.
    """
    fault = _fault(slope, intercept)
    is_known = bool(slope) and not fault
    return {
        "rescale": (_number(slope), _number(intercept)) if is_known else (1.0, 0.0),
        "has_rescale": bool(slope or intercept),
        "rescale_fault": fault,
    }


def _fault(slope: Sequence[str], intercept: Sequence[str]) -> str:
    """What slices have where the pair cannot be applied; nothing where it can, or both are absent."""
    if bool(slope) != bool(intercept):
        there, absent = (
            ("RescaleSlope", "RescaleIntercept") if slope else ("RescaleIntercept", "RescaleSlope")
        )
        return f"no {absent} beside {there}"
    for name, texts in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if texts and _number(texts) is None:
            return f"a {name} that is not one finite number"
    return "a RescaleSlope of 0" if _number(slope) == 0 else ""


def _number(texts: Sequence[str]) -> float | None:
    """The one finite number of a decimal string, or None."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers[0] if len(numbers) == 1 and math.isfinite(numbers[0]) else None


def value_problems(frames: Sequence[Frame]) -> list[Problem]:
    """Say why the values of slices are not known.

    Parameters
    ----------
    frames : sequence of Frame
        The slices of one volume.

    Returns
    -------
    list of Problem
        Empty where nothing is wrong.
    """
    odd = [frame for frame in frames if frame.bits[0] not in ALLOCATED]
    if odd:
        return [_problem(frames, odd, f"have {odd[0].bits[0]} bits allocated, not 8, 16 or 32")]
    rescaled = [frame for frame in frames if not frame.has_lut]
    faulty = [frame for frame in rescaled if frame.rescale_fault]
    if faulty:
        return [_problem(frames, faulty, f"have {faulty[0].rescale_fault}")]
    bare = [frame for frame in rescaled if not frame.has_rescale]
    if 0 < len(bare) < len(rescaled):
        return [_problem(frames, bare, "have no RescaleSlope and RescaleIntercept, which the others have")]
    return []


def _problem(frames: Sequence[Frame], bad: list[Frame], what: str) -> Problem:
    """Count and name the slices that have it."""
    names = some_names([frame.name for frame in bad])
    return Problem(f"{len(bad)} of {len(frames)} slices {what} ({names})", AGAIN)


def value_notes(frames: Sequence[Frame]) -> list[str]:
    """Say what is odd about the values of slices that can be read.

    Parameters
    ----------
    frames : sequence of Frame
        The slices of one volume.

    Returns
    -------
    list of str
        Empty where nothing is.
    """
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
