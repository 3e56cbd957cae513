"""Small rasters, volumes and generators for tests: sizes and spacings differ on every axis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers the rio accessor)
import torch
import xarray as xr
from torch import nn

from sr_imaging.image.grid.axes import fine_size
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.grid.volumes import volume
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import save_model
from sr_imaging.networks import Generator, GeneratorModule, build_generator


def smooth(shape: Sequence[int], *, seed: int = 0, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Waves plus a little noise, float64, from `low` to `high`."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    field = sum(np.sin(g / (2.0 + k) + rng.uniform(0, 6)) for k, g in enumerate(grids))
    field = field + 0.3 * rng.standard_normal(tuple(shape))
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-12)
    return np.asarray(low + (high - low) * field)


def raster(
    shape: Sequence[int] = (3, 11, 14),
    *,
    dtype: Any = np.float32,
    origin: tuple[float, float] = (500_000.0, 4_100_000.0),
    step: tuple[float, float] = (-10.0, 20.0),
    low: float = 0.0,
    high: float = 200.0,
    crs: str = "EPSG:32633",
    seed: int = 0,
) -> xr.DataArray:
    """``(band, y, x)`` or ``(y, x)`` with a CRS and a written GeoTransform; `step` is (dy, dx)."""
    values = smooth(shape, seed=seed, low=low, high=high)
    values = np.rint(values) if np.dtype(dtype).kind in "iu" else values
    rows, cols = shape[-2:]
    dims = ("band", "y", "x")[-len(shape) :]
    coords: dict[str, Any] = {
        "y": origin[1] + step[0] * (np.arange(rows) + 0.5),
        "x": origin[0] + step[1] * (np.arange(cols) + 0.5),
    }
    if len(shape) == 3:
        coords["band"] = np.arange(1, shape[0] + 1)
    da = xr.DataArray(values.astype(dtype), dims=dims, coords=coords, name="reflectance")
    return da.rio.write_crs(crs).rio.write_transform()


def oblique(angles: tuple[float, float, float] = (0.2, -0.4, 0.7)) -> np.ndarray:
    """A rotation matrix, degrees of freedom in radians."""
    a, b, c = angles
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(rx @ ry @ rz)


def scan(
    shape: Sequence[int] = (5, 9, 12),
    *,
    spacing: tuple[float, float, float] = (5.0, 0.8, 0.7),
    dtype: Any = np.int16,
    modality: str = "CT",
    angles: tuple[float, float, float] = (0.2, -0.4, 0.7),
    seed: int = 0,
) -> xr.DataArray:
    """Return an oblique volume in Hounsfield units."""
    matrix = np.eye(4)
    matrix[:3, :3] = oblique(angles)[:, [2, 1, 0]] * np.array(spacing)
    matrix[:3, 3] = (-120.5, 33.25, 710.0)
    values = smooth(shape, seed=seed, low=-900, high=1200)
    values = np.rint(values) if np.dtype(dtype).kind in "iu" else values
    reference = {"modality": modality, "slice_thickness": spacing[0], "frame_of_reference_uid": "1.2.3"}
    return volume(
        values.astype(dtype),
        matrix,
        spacing=spacing,
        name="ct",
        attrs={"units": "HU"},
        reference=reference,
    )


SMALL: dict[str, dict[str, int]] = {
    "srresnet": {"blocks": 1},
    "edsr": {"blocks": 1},
    "vdsr": {"depth": 4},
    "rrdb": {"blocks": 1, "channels": 4, "growth": 3},
    "attention": {"blocks": 1, "taps": 3},
    "vae": {"depth": 1, "latent_channels": 3},
    "guided": {"blocks": 1},
}


def generator(architecture: str = "espcn", *, seed: int = 0, gain: float = 0.05, **arguments: Any) -> Any:
    """Return a small generator whose zero weights are replaced by random ones, so that it makes detail."""
    torch.manual_seed(seed)
    module: Any = build_generator(architecture, {"channels": 8, **SMALL.get(architecture, {}), **arguments})
    for weight in module.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=gain)
    return module.eval()


class Strided(GeneratorModule):
    """A generator without finite halo: down, up, and an interpolation added."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__((scale, scale), halo=None)
        torch.manual_seed(3)
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(4, 1, 2 * scale, stride=2 * scale, bias=False)
        self.factor = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run on any size ``(B, 1, n)``."""
        y = self.up(torch.relu(self.down(x)))
        big = nn.functional.interpolate(x, scale_factor=self.factor, mode="nearest")
        return torch.as_tensor(big + 0.01 * y[..., : big.shape[-2], : big.shape[-1]])


def seam(a: Any, b: Any) -> float:
    """Largest difference in units of the range of `a`."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    return float(np.nanmax(np.abs(a - b)) / (np.nanmax(a) - np.nanmin(a)))


def holes(image: np.ndarray, *, seed: int = 1, share: float = 0.3) -> np.ndarray:
    """Return an image with a wedge of NaN and scattered ones."""
    rng = np.random.default_rng(seed)
    image = image.copy()
    rows, cols = np.indices(image.shape[-2:])
    image[..., cols + 2 * rows < image.shape[-1] * 0.8] = np.nan
    image[rng.random(image.shape) < share] = np.nan
    return image


def fine_like(da: xr.DataArray, scale: dict[Any, float]) -> xr.DataArray:
    """Zeros on the refined grid of an array."""
    shape = [fine_size(n, scale.get(dim, 1)) for dim, n in da.sizes.items()]
    return refine(da, np.zeros(shape, da.dtype), scale)


def run_padded(module: Generator, x: torch.Tensor) -> torch.Tensor:
    """Run a generator on a whole image ``(B, C, *n)``, its border replicated."""
    for k, h in enumerate(module.halo or ()):
        dim = 2 + k
        index = torch.arange(-h, x.shape[dim] + h).clamp(0, x.shape[dim] - 1)
        x = x.index_select(dim, index)
    with torch.no_grad():
        return module(x)


def fill_zoo(folder: Any, **cards: Any) -> None:
    """Save the three bundled names as tiny models; `cards` are more facts for every card."""
    for name, modality, facts in (
        ("raster-x2", "raster", {"scale": (2, 2)}),
        ("mr-through-x4", "MR", {"scale": (4, 1), "axes": ("z", "plane")}),
        ("ct-through-x4", "CT", {"scale": (4, 1), "axes": ("z", "plane")}),
    ):
        arguments: dict[str, Any] = {**facts, "channels": 4}
        module = generator("espcn", seed=len(name), **arguments)
        card = ModelCard.of(module, name=name, architecture="espcn", arguments=arguments)
        card = replace(card, modality=modality, **cards)
        save_model(module, folder / f"{name}.safetensors", card)
