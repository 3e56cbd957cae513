"""Generators and discriminators: torch alone, no image and no file."""

from .contract import PLANE_AXES, Generator, GeneratorModule, Trimmed, check_generator, replicate
from .interpolation import INTERPOLATIONS
from .registry import CLASSICAL, GENERATORS, build_generator

__all__ = [
    "CLASSICAL",
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
