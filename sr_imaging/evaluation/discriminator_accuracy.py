"""How often a discriminator is right: on patches of originals, and on the same patches of estimates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import nan
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_imaging.errors import ConfigError
from sr_imaging.losses.games import ADVERSARIAL_LOSSES, Adversarial, accuracy

__all__ = ["accuracy_by_image"]

_PATCHES = 64  # of one scan, spread evenly
_AT_ONCE = 8


def accuracy_by_image(
    discriminator: Any,
    hr: np.ndarray,
    estimates: Mapping[str, np.ndarray],
    *,
    valid: np.ndarray,
    spread: np.ndarray,
    fixed_values: tuple[float, float] | None,
    device: str,
) -> dict[str, float]:
    """Return the share of right verdicts on the originals, ``hr``, and on each estimate, by its name.

    `hr` and each estimate are (N, C, *n); only patches whose pixels are all `valid` count, and the share is
    NaN where there is none. `spread` is the (N,) standard deviation of the scan, or band, of each original;
    `fixed_values` are the offset and scale of a generator that states them. A patch discriminator gives many
    verdicts on one patch, and all count.
    """
    size = tuple(discriminator.size)
    if len(size) != hr.ndim - 2 or discriminator.in_channels != hr.shape[1]:
        raise ConfigError(
            f"the discriminator takes {discriminator.in_channels} bands of patches {size}, the model makes "
            f"{hr.shape[1]} bands along {hr.ndim - 2} axes; give the one it was trained with"
        )
    found = list(_find_patches(valid, hr, size))
    count = min(len(found), _PATCHES)
    places = [found[k * len(found) // count] for k in range(count)]
    if not places:
        return dict.fromkeys(["hr", *estimates], nan)
    logits = _collect_logits(discriminator.to(device), {"hr": hr, **estimates}, places, spread, fixed_values)
    game = _find_game(discriminator.loss)
    right = {name: accuracy(game, logits["hr"], logits[name]) for name in estimates}
    return {"hr": next(iter(right.values()))[0], **{name: of_sr for name, (_, of_sr) in right.items()}}


def _find_game(loss: str) -> Adversarial:
    """Return the game whose rule says which verdicts are right; without a boundary where none is known."""
    if not loss:
        return replace(next(iter(ADVERSARIAL_LOSSES.values())), boundary=None)
    if loss not in ADVERSARIAL_LOSSES:
        raise ConfigError(
            f"the discriminator was trained with the unknown loss {loss!r}; known are "
            f"{', '.join(ADVERSARIAL_LOSSES)}"
        )
    return ADVERSARIAL_LOSSES[loss]


def _collect_logits(
    discriminator: Any,
    images: Mapping[str, np.ndarray],
    places: Sequence[Any],
    spread: np.ndarray,
    fixed_values: tuple[float, float] | None,
) -> dict[str, Tensor]:
    """Return all verdicts, flat, on the same patches of originals and estimates."""
    device = next((p.device for p in discriminator.parameters()), torch.device("cpu"))
    found: dict[str, list[Tensor]] = {name: [] for name in images}
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        patches = {
            name: np.stack([of[place] for place in some], dtype=np.float32) for name, of in images.items()
        }
        offset, unit = _find_values(patches["hr"], spread[[place[0] for place in some]], fixed_values)
        for name, values in patches.items():
            with torch.inference_mode():
                verdict = discriminator(torch.from_numpy((values - offset) / unit).to(device))[-1]
            found[name].append(verdict.float().cpu().flatten())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _find_patches(valid: np.ndarray, hr: np.ndarray, size: Sequence[int]) -> Iterator[Any]:
    """Yield the index of every whole valid patch that is not constant, side by side from the middle."""
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


def _find_values(
    hr: np.ndarray, spread: np.ndarray, fixed_values: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return offset and unit of each patch, as `sr_imaging.training.data.batches` finds them by default."""
    if fixed_values is not None:
        return np.asarray(fixed_values[0], np.float32), np.asarray(fixed_values[1], np.float32)
    offset = hr.mean(tuple(range(2, hr.ndim)), keepdims=True)
    own = hr.reshape(len(hr), -1).std(1, ddof=1)
    unit = np.sqrt(own * spread).reshape(-1, *[1] * (hr.ndim - 1))
    return offset, unit.astype(np.float32)
