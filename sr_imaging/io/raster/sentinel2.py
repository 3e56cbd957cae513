"""What Sentinel-2 products say of their numbers beside the image: quantification, offset, nodata, classes.

Since processing baseline 04.00 (January 2022) stored numbers are shifted by an offset. It is stated in the
metadata that GDAL passes on as tags, or in the product's XML above the image, and is never guessed.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Facts", "read_facts"]

_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")  # of levels 2A and 1C
_QUANTIFICATIONS = ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
_BANDS = ("01", "02", "03", "04", "05", "06", "07", "08", "8A", "09", "10", "11", "12")  # by band_id
_IMAGE = re.compile(r"_(B\d[\dA]|SCL)(?:_\d\dm)?\.jp2$")
_PRODUCT = re.compile(r"MTD_MSIL(1C|2A)\.xml$")
_SCENE = "SCL"  # by BANDNAME, the tag of GDAL's subdatasets of level 2A
_QUALITY = ("AOT", "WVP", "CLD", "SNW", _SCENE)  # which have no reflectance and none of its offset
_LEVELS = 5  # folders from an image up to its product
# Scene classification of level 2A, by the product specification of ESA
_CLASSES = (
    "no_data saturated_or_defective dark_area cloud_shadow vegetation not_vegetated water unclassified "
    "cloud_medium_probability cloud_high_probability thin_cirrus snow"
)


@dataclass(frozen=True)
class Facts:
    """What a product states of its stored numbers."""

    scales: tuple[float, ...] = ()  # reflectance is stored * scale + offset, by band; empty: not stated
    offsets: tuple[float, ...] = ()
    nodata: float | None = None  # stored value of pixels without data
    classes: tuple[str, ...] = ()  # names in the order of values, by band; empty for a band of numbers


def read_facts(src: Any) -> Facts:
    """Return what the tags of an open raster, or the product it is part of, state of its numbers."""
    tags = src.tags()
    bands = [{**tags, **src.tags(band)} for band in range(1, src.count + 1)]
    facts = _read_product(Path(src.name)) if src.driver.startswith("JP2") else Facts()
    packings = [None if own.get("BANDNAME") in _QUALITY else _read_packing(own) for own in bands]
    if any(packings):
        scales, offsets = zip(*(pair or (1.0, 0.0) for pair in packings), strict=True)
        facts = replace(facts, scales=scales, offsets=offsets)
    if any(own.get("BANDNAME") == _SCENE for own in bands):
        facts = replace(facts, classes=tuple(_CLASSES * (own.get("BANDNAME") == _SCENE) for own in bands))
    nodata = _parse_number(tags.get("SPECIAL_VALUE_NODATA"))
    return facts if nodata is None else replace(facts, nodata=nodata)


def _read_packing(tags: dict[str, str]) -> tuple[float, float] | None:
    """Return scale and offset by the tags of a band and its file, where they state both numbers."""
    offset = next((number for key in _OFFSETS if (number := _parse_number(tags.get(key))) is not None), None)
    unit = next((number for key in _QUANTIFICATIONS if (number := _parse_number(tags.get(key)))), None)
    return None if offset is None or not unit else (1 / unit, offset / unit)


def _parse_number(text: str | None) -> float | None:
    """Return the number in a text; None where there is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _read_product(path: Path) -> Facts:
    """Return what the XML of a product in SAFE format states of one of its images."""
    image = _IMAGE.search(path.name)
    above = list(path.parents)[:_LEVELS] if image else []
    files = (file for folder in above for file in folder.glob("MTD_MSIL*.xml"))
    product = next((file for file in files if _PRODUCT.search(file.name)), None)
    if image is None or product is None:
        return Facts()
    if image[1] == "SCL":
        return Facts(classes=(_CLASSES,), nodata=0)
    text = product.read_text(encoding="utf-8", errors="replace")
    units = re.findall(rf"<(?:{'|'.join(_QUANTIFICATIONS)})\b[^>]*>([^<]+)<", text)
    offsets_by_band = dict(re.findall(rf'<(?:{"|".join(_OFFSETS)})\s+band_id="(\d+)"\s*>([^<]+)<', text))
    nodata = re.search(r"NODATA</SPECIAL_VALUE_TEXT>\s*<SPECIAL_VALUE_INDEX>([^<]+)<", text)
    unit = _parse_number(units[0]) if units else None
    offset = _parse_number(offsets_by_band.get(str(_BANDS.index(image[1][1:])), "0"))
    if not unit or offset is None:
        return Facts()
    return Facts((1 / unit,), (offset / unit,), _parse_number(nodata[1]) if nodata else None)
