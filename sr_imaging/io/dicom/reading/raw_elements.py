"""Typed access to the raw elements of a data set, faster and more lenient than pydicom's own."""

import numpy as np
from pydicom import Dataset

from sr_imaging.io.dicom.tags import SCAN_TAGS

__all__ = ["Header"]


class Header:
    """The scan tags of a data set whose elements are still raw; an odd value counts as absent."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def raw(self, name: str) -> tuple[bytes, bool]:
        """Return the bytes of an element, empty where it is absent, and whether they are little endian."""
        element = self.dataset.get_item(SCAN_TAGS[name]) if SCAN_TAGS[name] in self.dataset else None
        value = getattr(element, "value", None)
        if not isinstance(value, bytes):
            return b"", True
        return value, bool(getattr(element, "is_little_endian", True))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a text element."""
        text = self.raw(name)[0].decode("latin-1").strip(" \0\t\r\n")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, name: str) -> str:
        """Return the first value of a text element, or an empty text."""
        return next(iter(self.texts(name)), "")

    def numbers(self, name: str, count: int) -> tuple[float, ...] | None:
        """Return exactly `count` finite numbers of a decimal string, or None."""
        try:
            found = tuple(float(part) for part in self.texts(name)[:count])
        except ValueError:
            return None
        return found if len(found) == count and np.isfinite(found).all() else None

    def number(self, name: str) -> float | None:
        """Return one finite number of a decimal string, or None."""
        found = self.numbers(name, 1)
        return found[0] if found else None

    def integer(self, name: str, *, signed: bool = False) -> int | None:
        """Return a binary 16-bit number, or None."""
        value, is_little = self.raw(name)
        if len(value) < 2:
            return None
        return int.from_bytes(value[:2], "little" if is_little else "big", signed=signed)

    def is_filled(self, name: str) -> bool:
        """Tell whether an element is there and not empty."""
        return SCAN_TAGS[name] in self.dataset and bool(self.dataset.get_item(SCAN_TAGS[name]).value)

    def key(self, name: str) -> str:
        """Return a comparable text of any element."""
        value, is_little = self.raw(name)
        if name.startswith("Diffusion"):  # FD
            return str(np.frombuffer(value[: len(value) // 8 * 8], "<f8" if is_little else ">f8").tolist())
        return "\\".join(self.texts(name))
