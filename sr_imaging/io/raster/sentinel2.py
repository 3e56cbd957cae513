"""What Sentinel-2 products say of their numbers beside the image: quantification, offset, nodata, classes.

Since processing baseline 04.00 (January 2022) stored numbers are shifted by an offset. It stands in the
metadata that GDAL passes on as tags, or in the product's XML above the image, and is never guessed.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Facts", "facts_of"]

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
    """What is stated.

    Parameters
    ----------
    scales, offsets : tuple of float
        Reflectance is ``stored * scale + offset``, by band; empty where nothing is stated.
    nodata : float, optional
        Stored value of pixels without data.
    classes : tuple of str
        Names of classes in the order of their values, by band, empty for a band of numbers; none where no
        band holds classes.
    """

    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    nodata: float | None = None
    classes: tuple[str, ...] = ()


def facts_of(src: Any) -> Facts:
    """Return what the tags of an open raster, or the product it is part of, state of its numbers."""
    tags = src.tags()
    bands = [{**tags, **src.tags(band)} for band in range(1, src.count + 1)]
    facts = _of_product(Path(src.name)) if src.driver.startswith("JP2") else Facts()
    told = [None if own.get("BANDNAME") in _QUALITY else _packing(own) for own in bands]
    if any(told):
        scales, offsets = zip(*(pair or (1.0, 0.0) for pair in told), strict=True)
        facts = replace(facts, scales=scales, offsets=offsets)
    if any(own.get("BANDNAME") == _SCENE for own in bands):
        facts = replace(facts, classes=tuple(_CLASSES * (own.get("BANDNAME") == _SCENE) for own in bands))
    nodata = _number(tags.get("SPECIAL_VALUE_NODATA"))
    return facts if nodata is None else replace(facts, nodata=nodata)


def _packing(tags: dict[str, str]) -> tuple[float, float] | None:
    """Scale and offset by the tags of a band and its file, where they state both numbers."""
    offset = next((number for key in _OFFSETS if (number := _number(tags.get(key))) is not None), None)
    unit = next((number for key in _QUANTIFICATIONS if (number := _number(tags.get(key)))), None)
    return None if offset is None or not unit else (1 / unit, offset / unit)


def _number(text: str | None) -> float | None:
    """A number in a text, None where there is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _of_product(path: Path) -> Facts:
    """What the XML of a product in SAFE format says of one of its images."""
    image = _IMAGE.search(path.name)
    above = list(path.parents)[:_LEVELS] if image else []
    product = next(
        (file for folder in above for file in folder.glob("MTD_MSIL*.xml") if _PRODUCT.search(file.name)),
        None,
    )
    if image is None or product is None:
        return Facts()
    if image[1] == "SCL":
        return Facts(classes=(_CLASSES,), nodata=0)
    text = product.read_text(encoding="utf-8", errors="replace")
    units = re.findall(rf"<(?:{'|'.join(_QUANTIFICATIONS)})\b[^>]*>([^<]+)<", text)
    told = dict(re.findall(rf'<(?:{"|".join(_OFFSETS)})\s+band_id="(\d+)"\s*>([^<]+)<', text))
    nodata = re.search(r"NODATA</SPECIAL_VALUE_TEXT>\s*<SPECIAL_VALUE_INDEX>([^<]+)<", text)
    unit = _number(units[0]) if units else None
    offset = _number(told.get(str(_BANDS.index(image[1][1:])), "0"))
    if not unit or offset is None:
        return Facts()
    return Facts((1 / unit,), (offset / unit,), _number(nodata[1]) if nodata else None)
