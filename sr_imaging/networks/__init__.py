"""Generators and discriminators: torch alone, no image and no file."""

from sr_imaging.image.pixels.kernels import INTERPOLATIONS

from .contract import PLANE_AXES, Generator, GeneratorModule, Trimmed, check_generator, replicate
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
