"""Super-resolution for images that have coordinates.

>>> import sr_imaging
>>> sr_imaging.__version__
'0.1.0'

Public names are imported on first use, so that ``import sr_imaging`` loads no heavy package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CancelledError,
    ConfigError,
    GridError,
    InputTypeError,
    ModelError,
    ReadError,
    ResourceError,
    SrImagingError,
    WriteError,
)

if TYPE_CHECKING:
    from sr_imaging.degradation.arrays import degrade as degrade
    from sr_imaging.degradation.real_pairs import AlignedPair as AlignedPair
    from sr_imaging.degradation.real_pairs import aligned_pair as aligned_pair
    from sr_imaging.evaluation.evaluating import evaluate as evaluate
    from sr_imaging.evaluation.report import Report as Report
    from sr_imaging.inference.trained_range import model_fit as model_fit
    from sr_imaging.inference.upscaling import upscale as upscale
    from sr_imaging.io.scan import Scan as Scan
    from sr_imaging.models.blend import blend_models as blend_models
    from sr_imaging.models.card import ModelCard as ModelCard
    from sr_imaging.models.model_file import list_models as list_models
    from sr_imaging.models.model_file import load_model as load_model
    from sr_imaging.models.model_file import save_model as save_model
    from sr_imaging.training.loop import train as train
    from sr_imaging.training.one_scan import self_config as self_config

    from .io import find_scans as find_scans
    from .io import read as read
    from .io import write as write

__version__ = "0.1.0"

_LAZY = {
    "AlignedPair": "degradation.real_pairs",
    "ModelCard": "models.model_file",
    "Report": "evaluation.report",
    "Scan": "io.scan",
    "aligned_pair": "degradation.real_pairs",
    "blend_models": "models.blend",
    "degrade": "degradation.arrays",
    "evaluate": "evaluation.evaluating",
    "find_scans": "io",
    "list_models": "models.model_file",
    "load_model": "models.model_file",
    "model_fit": "inference.trained_range",
    "read": "io",
    "save_model": "models.model_file",
    "self_config": "training.one_scan",
    "train": "training.loop",
    "upscale": "inference.upscaling",
    "write": "io",
}

__all__ = [
    "AlignedPair",
    "CancelledError",
    "ConfigError",
    "GridError",
    "InputTypeError",
    "ModelCard",
    "ModelError",
    "ReadError",
    "Report",
    "ResourceError",
    "Scan",
    "SrImagingError",
    "WriteError",
    "aligned_pair",
    "blend_models",
    "degrade",
    "evaluate",
    "find_scans",
    "list_models",
    "load_model",
    "model_fit",
    "read",
    "save_model",
    "self_config",
    "train",
    "upscale",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
