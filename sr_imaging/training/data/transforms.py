"""MONAI transforms from a scan to a patch: one plane of it, and a crop of all that shows the same place.

Flips, rotations, crops of one grid and caches are MONAI's own.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from monai.config.type_definitions import KeysCollection
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms.transform import MapTransform, RandomizableTransform
from torch import Tensor

from sr_imaging.errors import SrImagingError
from sr_imaging.networks import replicate
from sr_imaging.networks.views import pair_views, views

__all__ = [
    "ContextPadd",
    "RandPairCropd",
    "RandPlaned",
    "item_views",
    "plain_tensors",
    "standardise_bands",
    "take_plane",
]


class RandPlaned(RandomizableTransform, MapTransform):
    """Draw one image of the network's axes from a scan: a band, a slice, a plane or the whole volume.

    The scan is ``(C, [z,] y, x)``, read by :class:`~sr_imaging.training.data.loading.LoadScand`; `least` is
    the smallest size of each axis. One channel is drawn where `in_channels` is 1, else all are kept. From
    partners the same image is drawn: of ``lr`` in the same channel, with `scale`; of ``guide`` in all.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        axes: tuple[str, ...],
        in_channels: int = 1,
        least: Sequence[int],
        scale: Sequence[int] = (),
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.axes = axes
        self.in_channels = in_channels
        self.least = tuple(least)
        self.scale = tuple(scale)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace every scan by a view of one image, and its facts by those of the drawn channel."""
        out = dict(data)
        for key in self.key_iterator(out):
            facts, shape = out.pop(f"{key}_facts"), out[key].shape[1:]
            options = item_views(data, key, axes=self.axes, scale=self.scale, least=self.least)
            view = options[self.R.randint(len(options))]
            channel = self.R.randint(out[key].shape[0]) if self.in_channels == 1 else None
            index = {axis: self.R.randint(size) for axis, size in enumerate(shape)}
            for name in [name for name in (key, "lr") if name in out]:
                out[name] = take_plane(out[name], view, channel, index)
            if "guide" in out:
                out["guide"] = take_plane(out["guide"], view, None, index)
            out[f"{key}_std"] = facts["std"][channel] if channel is not None else max(facts["std"])
        return out


def item_views(
    item: Mapping[Any, Any], key: str, *, axes: tuple[str, ...], scale: Sequence[int], least: Sequence[int]
) -> list[tuple[int, ...]]:
    """Return the views of a loaded scan, or of a real pair, of at least the size `least`."""
    shape = item[key].shape[1:]
    if "lr" not in item:
        return views(item[f"{key}_facts"]["spacing"], axes, shape=shape, least=least)
    options = pair_views(axes, scale, item["lr_scale"])
    return [view for view in options if all(shape[k] >= n for k, n in zip(view, least, strict=True))]


def take_plane(scan: Tensor, view: tuple[int, ...], channel: int | None, index: Mapping[int, int]) -> Tensor:
    """Return ``(C, *view)`` of a ``(C, [z,] y, x)`` scan at `index` of the axes that are not in the view."""
    image = scan if channel is None else scan[channel : channel + 1]
    for axis in range(scan.ndim - 2, -1, -1):
        if axis not in view:
            image = image.select(1 + axis, index[axis])
    rank = sorted(view)
    return image.permute(0, *(1 + rank.index(axis) for axis in view))


def standardise_bands(guides: Tensor) -> Tensor:
    """Return ``(B, G, *n)`` guides with every band without mean and of variance 1."""
    axes = tuple(range(2, guides.ndim))
    centred = guides - guides.mean(axes, keepdim=True)
    return centred / centred.std(axes, keepdim=True).clamp(min=1e-20)


class ContextPadd(MapTransform):
    """Replicate the border of ``(C, *n)`` images by `context` pixels on each axis shorter than `below`."""

    def __init__(self, keys: KeysCollection, *, context: Sequence[int], below: Sequence[int]) -> None:
        super().__init__(keys)
        self.context = tuple(context)
        self.below = tuple(below)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pad each image where it is small."""
        out = dict(data)
        for key in self.key_iterator(out):
            sizes = zip(out[key].shape[1:], self.below, self.context, strict=True)
            widths = [(context,) * 2 if size < below else (0, 0) for size, below, context in sizes]
            out[key] = replicate(out[key][None], widths)[0]
        return out


class RandPairCropd(RandomizableTransform, MapTransform):
    """Crop a coarse image and fine ones of the same area to one random window of `size` whole coarse pixels.

    The coarse one is ``(C, *n)``, the fine ones are ``(C, *(n * scale))``.
    """

    def __init__(
        self, keys: KeysCollection, *, coarse_key: str = "lr", scale: Sequence[int], size: Sequence[int]
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.coarse_key = coarse_key
        self.scale = tuple(scale)
        self.size = tuple(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop all images alike."""
        out = dict(data)
        room = out[self.coarse_key].shape[1:]
        starts = [self.R.randint(n - size + 1) for n, size in zip(room, self.size, strict=True)]
        windows = [*zip(starts, self.size, self.scale, strict=True)]
        coarse = (slice(None), *(slice(first, first + size) for first, size, _ in windows))
        fine = (slice(None), *(slice(first * s, (first + size) * s) for first, size, s in windows))
        out[self.coarse_key] = out[self.coarse_key][coarse]
        for key in self.key_iterator(out):
            out[key] = out[key][fine]
        return out


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Let MONAI work on plain tensors, and raise our own errors instead of those that wrap them."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SrImagingError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from cause.__cause__
    finally:
        set_track_meta(tracked)
