"""Images that are not a file of this machine: URLs, and the virtual paths and sub-images that GDAL knows."""

import os
import re
from pathlib import PurePosixPath

__all__ = ["address_of", "name_of", "server_options"]

_NETWORK = ("http", "https", "ftp", "s3", "gs", "az", "oss", "swift")
_ARCHIVES = ("zip", "tar", "gzip")  # of rasterio, such as zip:///folder/a.zip!b.tif
_SCHEME = re.compile(r"((?:\w+\+)?(" + "|".join((*_NETWORK, *_ARCHIVES)) + r")):(/+)(.+)", re.DOTALL)
# A driver's name and what it opens: SENTINEL2_L2A:…, NETCDF:"a.nc":b
_PART = re.compile(r"[A-Z][A-Z0-9_]{2,}:.+")
_INSIDE = re.compile(r"(/vsi(?:zip|tar|gzip|7z|rar))(/[^/].*)")  # of an absolute path that has lost a slash
_TIMEOUTS = {"GDAL_HTTP_CONNECTTIMEOUT": "10", "GDAL_HTTP_TIMEOUT": "60"}  # s, until a server is given up
_NO_LISTING = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}  # no search for side files on the server


def address_of(path: str | os.PathLike[str]) -> str | None:
    """Return what GDAL opens where a path is a URL, a ``/vsi`` path or a part of a file; None for a file.

    >>> from pathlib import PurePosixPath
    >>> address_of(PurePosixPath("https://example.org/a.tif"))  # which has lost a slash
    'https://example.org/a.tif'
    >>> address_of("a.tif")
    """
    text = os.fspath(path)
    if text.startswith("/vsi"):
        archive = _INSIDE.fullmatch(text)
        if archive and any(os.path.isfile(parent) for parent in PurePosixPath(archive[2]).parents):
            return f"{archive[1]}/{archive[2]}"
        return re.sub(rf"\b({'|'.join(_NETWORK)}):/(?!/)", r"\1://", text)
    if found := _SCHEME.fullmatch(text):
        whole, scheme, slashes, rest = found.groups()
        if len(slashes) > 1:
            return text
        return f"{whole}:{'///' if scheme in _ARCHIVES else '//'}{rest}"
    return text if _PART.fullmatch(text) and not os.path.exists(text) else None


def name_of(address: str) -> str:
    """Return the file name in an address, for messages and outputs.

    >>> name_of("https://example.org/tiles/a.tif?key=1")
    'a.tif'
    >>> name_of('NETCDF:"/data/rain.nc":amount')
    'rain.nc-amount'
    """
    if _PART.fullmatch(address):
        file, *parts = address.split(":", 1)[1].replace('"', "").split(":")
        return "-".join(
            re.sub(r"\W+", "_", part) if k else part for k, part in enumerate([_strip_folders(file), *parts])
        )
    return _strip_folders(address)


def _strip_folders(address: str) -> str:
    """Return the last part of a path without the query of a URL."""
    return PurePosixPath(re.sub(r"[?#].*", "", address)).name or "image"


def server_options() -> dict[str, str]:
    """Return GDAL's options for servers, such as timeouts, that the environment leaves open."""
    return {key: value for key, value in (_TIMEOUTS | _NO_LISTING).items() if key not in os.environ}
