"""Load torch's libraries without stopping the window."""

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["preload_torch"]


def preload_torch() -> None:
    """Load the libraries that ``import torch`` needs, for a thread beside the main one.

    Python holds its global lock while it loads an extension module, for seconds where torch comes with CUDA,
    and the window would stand still. A C function that is called through ctypes runs without the lock, and
    the import then finds the libraries loaded. Where this does not work, the import does it all as ever.
    """
    spec = None if "torch" in sys.modules else find_spec("torch")
    if spec is None or spec.origin is None or sys.platform == "win32":
        return
    suffix = "dylib" if sys.platform == "darwin" else "so"
    library = Path(spec.origin).parent / "lib" / f"libtorch_python.{suffix}"
    ctypes.CDLL(None).dlopen(os.fsencode(library), os.RTLD_NOW)
