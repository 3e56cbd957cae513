"""The exceptions of the package: what was wrong, what was got, what to do.

Every error that a user can cause is a :class:`SrImagingError`; a subclass exists only where a caller
catches it.
"""

__all__ = [
    "CancelledError",
    "ConfigError",
    "GridError",
    "InputTypeError",
    "ModelError",
    "ReadError",
    "ResourceError",
    "SrImagingError",
    "WriteError",
]


class SrImagingError(Exception):
    """Base of all errors that this package raises on purpose."""


class GridError(SrImagingError, ValueError):
    """The coordinates do not form an even grid, or the requested grid does not exist."""


class InputTypeError(SrImagingError, TypeError):
    """The kind of the input (dtype, coordinate type, container) cannot be super-resolved."""


class ModelError(SrImagingError, ValueError):
    """A model file cannot be loaded, or a model does not fit the image."""


class ConfigError(SrImagingError, ValueError):
    """A training or command-line setting is unknown or impossible."""


class ReadError(SrImagingError, OSError):
    """A file or folder cannot be read as a scan."""


class WriteError(SrImagingError, OSError):
    """A result cannot be written; nothing was left under the final name."""


class ResourceError(SrImagingError, RuntimeError):
    """Not enough disk or memory for the plan."""


class CancelledError(SrImagingError):
    """The caller asked for the work to stop; nothing half-done is left."""
