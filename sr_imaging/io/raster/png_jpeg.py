"""PNG and JPEG to DataArray: photographs and renderings, mostly without a place in the world.

GDAL decodes them, as it does GeoTIFF, since it keeps the 16 bits of a PNG, which Pillow does not for colours.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import ReadError
from sr_imaging.io.content import image_driver
from sr_imaging.io.scan import Scan, Verdict

from .pixels import open_raster

__all__ = ["read_image", "scan_image"]

_INKS = ("cyan", "magenta", "yellow", "black")


def scan_image(path: Path) -> Scan:
    """Describe a PNG or JPEG without decoding it: shape (band, y, x) as it will be read."""
    try:
        with open_raster(path, driver=image_driver(path) or "PNG") as src:
            shape = (len(_name_bands(src)), src.height, src.width)
            facts = {"dtype": src.dtypes[0], "bands": shape[0], "crs": "", "driver": src.driver}
        _check_whole(path)
    except ReadError as error:
        return Scan(path, "image", Verdict(False, str(error)), files=(path,))
    return Scan(path, "image", Verdict(True), files=(path,), shape=shape, facts=facts)


def read_image(scan: Scan) -> xr.DataArray:
    """Read a PNG or JPEG into memory as (band, y, x): grey, or red, green and blue, of 8 or 16 bits.

    Values are as stored, mostly encoded for display after sRGB, not linear in light. Palettes are looked up,
    printing inks turned into colours; wholly transparent pixels are False in the coord ``mask``. There are no
    coords y and x unless a world file beside it states them. A rotation that EXIF asks for is not made.
    """
    _check_whole(scan.path)
    with open_raster(scan.path, driver=image_driver(scan.path) or "PNG") as src:
        names = _name_bands(src)
        values = src.read()
        colours = [kind.name for kind in src.colorinterp]
        if "palette" in colours:
            values = _look_up_palette(values[0], src.colormap(1))
            colours = ["red", "green", "blue", "alpha"]
        coords = _read_centres(src)
    alpha = values[colours.index("alpha")] if "alpha" in colours else None
    values = _convert_inks(values) if tuple(colours) == _INKS else values[: len(names)]
    coords["band"] = ("band", np.arange(1, len(names) + 1))
    if alpha is not None and not alpha.all():
        coords["mask"] = (("y", "x"), alpha > 0, {"long_name": "valid pixels"})
    da = xr.DataArray(values, dims=("band", "y", "x"), coords=coords, attrs={"color_interp": names})
    da.encoding["source"] = str(scan.path)
    return da


def _check_whole(path: Path) -> None:
    """Raise where a PNG ends before its last chunk; GDAL would read on and return arbitrary values."""
    if image_driver(path) == "JPEG":
        return
    size, at, kind = path.stat().st_size, 8, b""
    with path.open("rb") as file:
        while kind != b"IEND" and at + 12 <= size:
            file.seek(at)
            head = file.read(8)
            kind, at = head[4:], at + 12 + int.from_bytes(head[:4], "big")
    if kind != b"IEND" or at > size:
        raise ReadError(f"cannot read {path}: it is cut short at byte {size}; fetch it again")


def _name_bands(src: Any) -> tuple[str, ...]:
    """Return the colours of the bands as they will be read."""
    colours = [kind.name for kind in src.colorinterp]
    grey = len(colours) - ("alpha" in colours) == 1 and "palette" not in colours
    return ("gray",) if grey else ("red", "green", "blue")


def _look_up_palette(index: np.ndarray, table: dict[int, tuple[int, ...]]) -> np.ndarray:
    """Return the (4, y, x) colours and opacity of a palette's entries."""
    entries = np.zeros((max(256, int(index.max()) + 1), 4), dtype=np.uint8)
    for number, entry in table.items():
        entries[number] = entry
    return np.ascontiguousarray(np.moveaxis(entries[index], -1, 0))


def _convert_inks(inks: np.ndarray) -> np.ndarray:
    """Return red, green and blue of cyan, magenta, yellow and black, as without a colour profile."""
    full = float(np.iinfo(inks.dtype).max)
    light = (1 - inks[:3] / full) * (1 - inks[3] / full)
    return np.asarray(np.rint(light * full).astype(inks.dtype))


def _read_centres(src: Any) -> dict[str, Any]:
    """Return pixel centres where a world file states them and the image is not rotated."""
    t = src.transform
    if t.is_identity or t.b or t.d:
        return {}
    rows, cols = np.arange(src.height) + 0.5, np.arange(src.width) + 0.5
    return {"y": ("y", t.f + t.e * rows), "x": ("x", t.c + t.a * cols)}
