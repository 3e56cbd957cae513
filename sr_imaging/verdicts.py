"""How often a discriminator is right: on patches of originals, and on the same patches of estimates."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import nan
from typing import Any

import numpy as np
import torch

from .errors import ConfigError

__all__ = ["verdicts"]

_PATCHES = 64  # of one scan, spread evenly
_AT_ONCE = 8


def verdicts(
    discriminator: Any,
    hr: np.ndarray,
    estimates: Mapping[str, np.ndarray],
    *,
    valid: np.ndarray,
    spread: np.ndarray,
    fixed_values: tuple[float, float] | None,
    device: str,
) -> dict[str, float]:
    """Return the share of a discriminator's verdicts that are right.

    Parameters
    ----------
    discriminator : nn.Module
        With ``size`` and ``in_channels``, as :func:`sr_imaging.discriminator_file.load_discriminator` returns
        it.
    hr : (N, C, *n) ndarray
        Originals.
    estimates : mapping of (N, C, *n) ndarray
        Estimates by name.
    valid : (N, C, *n) bool ndarray
        Patches with any other pixel do not count.
    spread : (N,) ndarray
        Standard deviation of the scan, or band of a scan, that each original is of.
    fixed_values : (float, float), optional
        Offset and scale of the values that the generator states; by default each patch is shifted and scaled
        as in training, by the mean and deviation of its original.
    device : str
        Where to run.

    Returns
    -------
    dict of float
        ``hr``: share of verdicts above 0 on originals; by name of each estimate: share below 0. NaN where no
        patch fits. A patch discriminator gives many verdicts on one patch, and all count.

    Raises
    ------
    ConfigError
        If the discriminator is for another number of axes or bands.
    """
    size = tuple(discriminator.size)
    if len(size) != hr.ndim - 2 or discriminator.in_channels != hr.shape[1]:
        raise ConfigError(
            f"the discriminator takes {discriminator.in_channels} bands of patches {size}, the model makes "
            f"{hr.shape[1]} bands along {hr.ndim - 2} axes; give the one it was trained with"
        )
    images = {"hr": hr, **estimates}
    right = {name: [0, 0] for name in images}
    places = _spread(list(_places(valid, hr, size)))
    discriminator = discriminator.to(device)
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        of_hr = np.stack([hr[place] for place in some]).astype(np.float32)
        offset, unit = _values(of_hr, spread[[place[0] for place in some]], fixed_values)
        for name, image in images.items():
            patches = (np.stack([image[place] for place in some]).astype(np.float32) - offset) / unit
            with torch.inference_mode():
                logits = discriminator(torch.from_numpy(patches).to(device))[-1]
            said = logits > 0 if name == "hr" else logits < 0
            right[name][0] += int(said.sum())
            right[name][1] += said.numel()
    return {name: yes / all_ if all_ else nan for name, (yes, all_) in right.items()}


def _places(valid: np.ndarray, hr: np.ndarray, size: Sequence[int]) -> Iterator[Any]:
    """Index of every whole valid patch that is not constant, side by side from the middle."""
    starts = [
        range((n - n // side * side) // 2, n - side + 1, side)
        for n, side in zip(hr.shape[2:], size, strict=True)
    ]
    for number in range(len(hr)):
        for corner in product(*starts):
            window = (slice(low, low + side) for low, side in zip(corner, size, strict=True))
            place: Any = (number, slice(None), *window)
            if valid[place].all() and hr[place].std() > 0:
                yield place


def _spread(places: Sequence[Any]) -> list[Any]:
    """At most so many of them, evenly."""
    count = min(len(places), _PATCHES)
    return [places[k * len(places) // count] for k in range(count)]


def _values(
    hr: np.ndarray, spread: np.ndarray, fixed_values: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Offset and unit of each patch, as `sr_imaging.patches` gives them by default."""
    if fixed_values is not None:
        return np.asarray(fixed_values[0], np.float32), np.asarray(fixed_values[1], np.float32)
    offset = hr.mean(tuple(range(2, hr.ndim)), keepdims=True)
    own = hr.reshape(len(hr), -1).std(1, ddof=1)
    unit = np.sqrt(own * spread).reshape(-1, *[1] * (hr.ndim - 1))
    return offset, unit.astype(np.float32)
