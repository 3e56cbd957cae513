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
    from .blend import blend_models as blend_models
    from .degradation import degrade as degrade
    from .evaluation import evaluate as evaluate
    from .infer import upscale as upscale
    from .io import find_scans as find_scans
    from .io import read as read
    from .io import write as write
    from .io.scan import Scan as Scan
    from .model_file import ModelCard as ModelCard
    from .model_file import list_models as list_models
    from .model_file import load_model as load_model
    from .model_file import save_model as save_model
    from .pairs import AlignedPair as AlignedPair
    from .pairs import aligned_pair as aligned_pair
    from .report import Report as Report
    from .selftraining import self_config as self_config
    from .training import train as train

__version__ = "0.1.0"

_LAZY = {
    "AlignedPair": "pairs",
    "ModelCard": "model_file",
    "Report": "report",
    "Scan": "io.scan",
    "aligned_pair": "pairs",
    "blend_models": "blend",
    "degrade": "degradation",
    "evaluate": "evaluation",
    "find_scans": "io",
    "list_models": "model_file",
    "load_model": "model_file",
    "read": "io",
    "save_model": "model_file",
    "self_config": "selftraining",
    "train": "training",
    "upscale": "infer",
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
