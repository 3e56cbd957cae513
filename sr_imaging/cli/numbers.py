"""Options that hold several numbers: a scale, a target spacing, a tile."""

from sr_imaging.errors import ConfigError

__all__ = ["parse_scale", "parse_spacing", "parse_tile"]


def parse_scale(text: str | None) -> float | tuple[float, ...] | dict[str, float] | None:
    """Return a scale: one number, several in z, y, x order, or numbers by dim.

    >>> parse_scale("2"), parse_scale("4,1,1"), parse_scale("z=4")
    (2.0, (4.0, 1.0, 1.0), {'z': 4.0})
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if any("=" in part for part in parts):
        return _parse_by_dim(parts, text, "--scale")
    numbers = tuple(_parse_number(part, text, "--scale") for part in parts)
    return numbers[0] if len(numbers) == 1 else numbers


def parse_spacing(text: str | None) -> float | dict[str, float] | None:
    """Return a target spacing: one number, or numbers by dim as ``z=1,y=0.5``."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and "=" not in text:
        return _parse_number(parts[0], text, "--spacing")
    return _parse_by_dim(parts, text, "--spacing")


def parse_tile(text: str | None) -> int | tuple[int, ...] | None:
    """Return a tile in pixels: one whole number, or one per axis as ``64,128``."""
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--tile {text!r} must be whole numbers; write 256, or by axis 64,128") from error
    return numbers[0] if len(numbers) == 1 else numbers


def _parse_by_dim(parts: list[str], text: str, option: str) -> dict[str, float]:
    """Return the numbers of ``dim=number`` parts."""
    found = {}
    for part in parts:
        dim, equals, number = part.partition("=")
        if not equals or not dim.strip():
            raise ConfigError(f"{option} {text!r} names a dim for some numbers only; write z=4,y=1,x=1")
        found[dim.strip()] = _parse_number(number, text, option)
    return found


def _parse_number(part: str, text: str, option: str) -> float:
    """Return one number."""
    try:
        return float(part)
    except ValueError as error:
        raise ConfigError(
            f"{option} {text!r} has {part!r}, which is not a number; write 2, or by dim: z=4"
        ) from error
