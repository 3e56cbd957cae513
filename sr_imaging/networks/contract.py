"""What a generator is: a module that states its facts and eats its halo."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sr_imaging.errors import ModelError

__all__ = [
    "PLANE_AXES",
    "Generator",
    "GeneratorModule",
    "Trimmed",
    "check_generator",
    "module_axes",
    "replicate",
]

PLANE_AXES = ("z", "plane")  # through-plane: runs on the (z, y) and the (z, x) planes, averaged


@runtime_checkable
class Generator(Protocol):
    """A super-resolution network that `sr_imaging.upscale` can run.

    `forward` takes ``(B, C, n + 2 * halo)`` and returns ``(B, C, n * scale)``: its convolutions are unpadded,
    so each layer consumes context, and a tiled result equals the result of the whole image.

    Attributes
    ----------
    scale : tuple of float
        Fine pixels per coarse pixel, one whole number per axis that the network works on.
    spatial_dims : int
        Number of those axes, 2 or 3.
    in_channels : int
        Bands it takes together; 1 serves any number of bands, one at a time.
    axes : tuple of str
        ``("y", "x")``, ``("z", "y", "x")``, or ``("z", "plane")`` for a through-plane network of scale
        ``(k, 1)`` that runs on both families of planes and is averaged.
    halo : tuple of int or None
        Context in LR pixels that each side of the output needs; None where it is not finite (strides,
        whole-image statistics): such a network runs in blended windows.
    fixed_values : tuple of float or None
        ``(offset, scale)`` of the values the network expects, ``(x - offset) / scale``; None for a network
        that is equivariant: ``f(a * x + b) = a * f(x) + b`` for any ``a > 0``.

    Notes
    -----
    More facts may be stated; a module without them has the value in brackets.

    latent_channels : int [0]
        Bands of a standard-normal noise map on the LR grid with its halo, which ``forward(x, latent=None)``
        takes by keyword. Without one, a module in training draws it from torch's global generator, and a
        module in evaluation takes zeros: its mean image.
    guide_channels : int [0]
        Bands of a second image on the HR grid, ``(B, G, *((n + 2 * halo) * scale))``, the second argument
        ``forward(x, guide)``. An equivariant generator is blind to gain and offset of the guide as well;
        `fixed_values` hold for both images.
    multiple : int [1]
        Each side of the LR image, which then has no halo, must be a whole multiple of this (strides).
    scale_range : tuple of (float, float), or None [None]
        Lowest and highest real factor of each axis that may be asked of a network that works on the image
        already interpolated to the HR grid; its `scale` is all ones.
    divergence : Tensor
        What a variational generator left of its last forward in training: its Kullback-Leibler term, scalar.
    """

    @property
    def scale(self) -> tuple[float, ...]: ...  # noqa: D102

    @property
    def spatial_dims(self) -> int: ...  # noqa: D102

    @property
    def in_channels(self) -> int: ...  # noqa: D102

    @property
    def axes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def halo(self) -> tuple[int, ...] | None: ...  # noqa: D102

    @property
    def fixed_values(self) -> tuple[float, float] | None: ...  # noqa: D102

    def __call__(self, x: Tensor) -> Tensor:
        """Super-resolve a batch."""
        ...


_FACTS = ("scale", "spatial_dims", "in_channels", "axes", "halo", "fixed_values")


def check_generator(module: Any) -> None:
    """Raise `ModelError` at the first fact of a :class:`Generator` that a module lacks or contradicts."""
    for fact in _FACTS:
        if not hasattr(module, fact):
            raise ModelError(
                f"{type(module).__name__} does not state {fact!r}, so it is not a generator; wrap it: "
                "sr_imaging.networks.Trimmed(module, scale=..., halo=...)"
            )
    if not isinstance(module, nn.Module):
        raise ModelError(f"{type(module).__name__} is not a torch module; derive it from torch.nn.Module")
    _check_numbers(module, "scale", 1)
    if module.halo is not None:
        _check_numbers(module, "halo", 0)
    for fact in ("scale", "axes") if module.halo is None else ("scale", "axes", "halo"):
        length = len(getattr(module, fact))
        if length != module.spatial_dims:
            raise ModelError(
                f"{type(module).__name__} has {length} numbers in {fact!r} for {module.spatial_dims} "
                "spatial dims; state one per axis"
            )
    module_axes(module.spatial_dims, module.axes)  # type: ignore[arg-type]
    for fact, low in (("latent_channels", 0), ("guide_channels", 0), ("multiple", 1)):
        value = getattr(module, fact, low)
        if value != int(value) or value < low:
            raise ModelError(
                f"{type(module).__name__} states {fact} {value!r}; give a whole number of at least {low}"
            )
    if getattr(module, "scale_range", None) is not None:
        _check_range(module)


def _check_numbers(module: Any, fact: str, low: int) -> None:
    """Raise unless a fact is a sequence of whole numbers of at least `low`."""
    value = getattr(module, fact)
    if not isinstance(value, Sequence) or any(n != int(n) or n < low for n in value):
        raise ModelError(
            f"{type(module).__name__} states {fact} {value!r}, not one whole number per axis; "
            f"give a tuple of numbers of at least {low}"
        )


def _check_range(module: Any) -> None:
    """Raise unless a network for any factor states a range per axis, and works on the HR grid itself."""
    span = module.scale_range
    pairs = isinstance(span, Sequence) and all(isinstance(p, Sequence) and len(p) == 2 for p in span)
    if not pairs or len(span) != module.spatial_dims or any(not 1 <= low <= high for low, high in span):
        raise ModelError(
            f"{type(module).__name__} states scale_range {span!r}, not lowest and highest factor per axis; "
            "give for example ((1.5, 4), (1.5, 4))"
        )
    if any(s != 1 for s in module.scale):
        raise ModelError(
            f"{type(module).__name__} states a scale_range and scale {module.scale}; a network for any "
            "factor works on the HR grid, so make its scale all ones"
        )


def module_axes(spatial_dims: int, axes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the axes of a network: those given, else the last `spatial_dims` of z, y, x.

    Raises `ModelError` if their number or names are not those of a network of `spatial_dims` axes.
    """
    allowed = {2: (("y", "x"), PLANE_AXES), 3: (("z", "y", "x"),)}
    if spatial_dims not in allowed:
        raise ModelError(f"a scale of {spatial_dims} numbers has no network; give 2 (y, x) or 3 (z, y, x)")
    chosen = tuple(axes) if axes is not None else allowed[spatial_dims][0]
    if chosen not in allowed[spatial_dims]:
        raise ModelError(f"axes {chosen} do not fit {spatial_dims} dims; use one of {allowed[spatial_dims]}")
    return chosen


def replicate(x: Tensor, missing: Sequence[tuple[int, int]]) -> Tensor:
    """Repeat the border pixels of ``(B, C, *n)`` by ``(before, after)`` pixels along each axis."""
    for k, (before, after) in enumerate(missing):
        if before or after:
            dim = x.ndim - len(missing) + k
            first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
            x = torch.cat([first.repeat_interleave(before, dim), x, last.repeat_interleave(after, dim)], dim)
    return x


class GeneratorModule(nn.Module):
    """Base of the generators here: states the facts of a :class:`Generator`, which are its arguments.

    Where `axes` are not given, they are the last ones of z, y, x.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        halo: Sequence[int] | None,
        in_channels: int = 1,
        axes: Sequence[str] | None = None,
        fixed_values: tuple[float, float] | None = None,
        latent_channels: int = 0,
        guide_channels: int = 0,
        multiple: int = 1,
        scale_range: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        super().__init__()
        if any(s < 1 or s != int(s) for s in scale):
            raise ModelError(
                f"{type(self).__name__} does not work with scale {tuple(scale)}; give whole factors"
            )
        self.scale: tuple[int, ...] = tuple(int(s) for s in scale)
        self.spatial_dims = len(self.scale)
        self.in_channels = in_channels
        self.axes = module_axes(self.spatial_dims, axes)
        self.halo = None if halo is None else tuple(halo)
        self.fixed_values = fixed_values
        self.latent_channels = latent_channels
        self.guide_channels = guide_channels
        self.multiple = multiple
        self.scale_range = None if scale_range is None else tuple(scale_range)


class Trimmed(GeneratorModule):
    """Make a zero- or reflect-padded network a generator by trimming what its padding touched.

    Parameters
    ----------
    module : nn.Module
        Takes ``(B, C, n)`` and returns ``(B, C, n * scale)``.
    halo : tuple of int
        LR pixels on each side that the padding can reach: half its receptive field.
    scale, in_channels, axes, fixed_values
        As in :class:`GeneratorModule`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        scale: Sequence[int],
        halo: Sequence[int],
        in_channels: int = 1,
        axes: Sequence[str] | None = None,
        fixed_values: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes, fixed_values=fixed_values)
        self.module = module
        self.trim = tuple(width * s for width, s in zip(halo, scale, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Run the module on ``(B, C, n + 2 * halo)`` and trim its output to ``(B, C, n * scale)``."""
        y: Tensor = self.module(x)
        for k, width in enumerate(self.trim):
            y = y.narrow(2 + k, width, y.shape[2 + k] - 2 * width)
        return y
