"""Generators: networks that super-resolve, and the interpolations they are measured against.

``GENERATORS`` is the list one can read; :func:`build_generator` makes one from its name and arguments.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from ..errors import ModelError
from .contract import PLANE_AXES, Generator, GeneratorModule, Trimmed, check_generator, replicate
from .espcn import ESPCN
from .interpolation import INTERPOLATIONS, Interpolation
from .srresnet import SRResNet

__all__ = [
    "GENERATORS",
    "INTERPOLATIONS",
    "PLANE_AXES",
    "Generator",
    "GeneratorModule",
    "Trimmed",
    "build_generator",
    "check_generator",
    "replicate",
]

GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "nearest": partial(Interpolation, "nearest"),
    "linear": partial(Interpolation, "linear"),
    "cubic": partial(Interpolation, "cubic"),
    "lanczos": partial(Interpolation, "lanczos"),
    "espcn": ESPCN,
    "srresnet": SRResNet,
}


def build_generator(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a generator with fresh weights.

    Parameters
    ----------
    architecture : str
        Key of ``GENERATORS``.
    arguments : mapping
        Its keyword arguments, ``scale`` among them.

    Returns
    -------
    nn.Module
        A module that meets :class:`Generator`.

    Raises
    ------
    ModelError
        If the architecture or one of the arguments is unknown or impossible.
    """
    if architecture not in GENERATORS:
        raise ModelError(f"unknown architecture {architecture!r}; use one of {', '.join(GENERATORS)}")
    make = GENERATORS[architecture]
    known = list(inspect.signature(make).parameters)
    for key in arguments:
        if key not in known:
            raise ModelError(f"{architecture} takes no argument {key!r}; it takes {', '.join(known)}")
    if "scale" not in arguments:
        raise ModelError(f"{architecture} needs a 'scale'; give one factor per axis, e.g. (2, 2)")
    try:
        return make(**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{architecture} cannot be built of {dict(arguments)} ({error}); change them"
        ) from error
