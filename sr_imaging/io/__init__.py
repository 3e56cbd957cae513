"""Scans from disk and back: find what a path holds, read it, write it. Readers are imported when needed."""

from .find import find_scans
from .read_write import read, write
from .scan import Scan, Verdict

__all__ = ["Scan", "Verdict", "find_scans", "read", "write"]
