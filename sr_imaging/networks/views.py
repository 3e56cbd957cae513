"""Which axes of a scan play the axes of a network."""

from collections.abc import Sequence
from itertools import permutations

from .contract import PLANE_AXES

__all__ = ["pair_views", "views"]
FINE_AXIS = 1.25  # an axis is fine where its spacing is at most this many times the finest


def views(
    spacing: Sequence[float],
    axes: tuple[str, ...],
    *,
    shape: Sequence[int] | None = None,
    least: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Return which spatial axes of a scan can play the axes of a network, counted from the first; maybe none.

    `spacing` and `shape` are those of the scan's spatial axes at HR, `least` the sizes the network needs.
    ``("z", "plane")`` may be any ordered pair of fine axes, since detail along any of them teaches what is
    lost along z; other networks take the last axes of the scan as they are.

    >>> views((3.0, 0.7, 0.7), ("z", "plane"))
    [(1, 2), (2, 1)]
    >>> views((3.0, 0.7, 0.7), ("y", "x"))
    [(1, 2)]
    """
    count = len(spacing)
    if axes != PLANE_AXES:
        options = [tuple(range(count - len(axes), count))] if count >= len(axes) else []
    else:
        fine = [k for k, step in enumerate(spacing) if step <= FINE_AXIS * min(spacing)]
        options = list(permutations(fine, 2))
    if shape is None or least is None:
        return options
    return [view for view in options if all(shape[k] >= n for k, n in zip(view, least, strict=True))]


def pair_views(axes: tuple[str, ...], scale: Sequence[int], factors: Sequence[int]) -> list[tuple[int, ...]]:
    """Return which spatial axes of a real pair can play the axes of a network; none where the factors differ.

    `factors` are HR pixels per LR pixel of the pair along each spatial axis. ``("z", "plane")`` is z with
    either of the others.

    >>> pair_views(("z", "plane"), (4, 1), (4, 1, 1))
    [(0, 1), (0, 2)]
    >>> pair_views(("y", "x"), (2, 2), (3, 3))
    []
    """
    count = len(factors)
    options: list[tuple[int, ...]] = [(0, 1), (0, 2)] if count == 3 else []
    if axes != PLANE_AXES:
        options = [tuple(range(count - len(axes), count))] if count >= len(axes) else []
    wanted = {view: [scale[view.index(k)] if k in view else 1 for k in range(count)] for view in options}
    return [view for view in options if wanted[view] == list(factors)]
