"""Lazy arrays: nothing is read before it is asked for, nothing twice, and any chunks give the same result."""

import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr
from helpers.builders import generator, raster, seam, smooth
from hypothesis import given, settings
from hypothesis import strategies as st

import sr_imaging
from sr_imaging import upscale

ESPCN = generator("espcn", scale=(2, 3))
DEEP = generator("srresnet", scale=(2, 2), blocks=2)


class Counted:
    """An array on a slow disk: tells which blocks are read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, values.ndim
        self.reads: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getitem__(self, index: Any) -> np.ndarray:
        with self._lock:
            self.reads[str(index)] += 1
        return self.values[index]


def counted(*chunks: int) -> tuple[Counted, xr.DataArray]:
    """A stack of 3 times and 2 bands on such a disk, in chunks."""
    source = Counted(smooth((3, 2, 24, 27)).astype(np.float32))
    data: Any = dask.array.from_array(source, chunks=chunks, meta=np.empty((0,) * 4, np.float32))
    y, x = 900 - 10.0 * np.arange(24), 500 + 20.0 * np.arange(27)
    return source, xr.DataArray(
        data, dims=("time", "band", "y", "x"), coords={"time": [4, 5, 9], "y": y, "x": x}, name="r"
    )


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (ESPCN, {}),
        (DEEP, {}),
        ("cubic", {"scale": 2}),
        ("cubic", {"spacing": {"y": 4.0, "x": 7.0}}),
        ("nearest", {"scale": 3, "dtype": "uint8"}),
    ],
)
def test_call_reads_nothing(model: Any, options: dict[str, Any]) -> None:
    source, lr = counted(1, 2, 10, 10)
    sr = upscale(lr, model, **options)
    upscale(xr.Dataset({"a": lr, "b": lr[:, 0]}), model, **options)
    if "spacing" not in options:  # which a plain array has not
        upscale(lr.data, model, **options)
    _ = sr.rio.crs, sr.isel(y=slice(0, 4)), sr * 2
    assert source.reads.total() == 0


def test_each_chunk_is_read_once() -> None:
    source, lr = counted(1, 2, 12, 9)
    upscale(lr, ESPCN).compute()
    assert len(source.reads) == 3 * 1 * 2 * 3
    assert set(source.reads.values()) == {1}


def test_part_of_a_result_reads_its_neighbourhood_alone() -> None:
    source, lr = counted(1, 1, 8, 9)
    part = upscale(lr, ESPCN).sel(time=5).isel(band=1, y=slice(0, 4), x=slice(0, 6)).compute()
    assert source.reads.total() == 4  # its own block and the three that touch it
    np.testing.assert_allclose(part, upscale(lr.compute(), ESPCN)[1, 1, :4, :6], atol=1e-6)


chunks_of = st.integers(1, 30).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(1, 9), min_size=1, max_size=6))
)


def cut(size: int, wanted: list[int]) -> tuple[int, ...]:
    """Chunks of an axis: as wanted, in turn, until it ends."""
    made: list[int] = []
    while sum(made) < size:
        made.append(min(wanted[len(made) % len(wanted)], size - sum(made)))
    return tuple(made)


@pytest.mark.parametrize("model", [ESPCN, DEEP], ids=["espcn", "srresnet"])
@settings(max_examples=12, deadline=None)
@given(chunks_of, chunks_of, st.lists(st.integers(1, 3), min_size=1, max_size=2), st.booleans())
def test_any_chunks_give_the_same_result(model: Any, y: Any, x: Any, bands: Any, holes: bool) -> None:
    lr = xr.DataArray(smooth((3, y[0], x[0])).astype(np.float32), dims=("band", "y", "x"))
    if holes:
        lr = lr.where(np.random.default_rng(1).random(lr.shape) > 0.2)
    lazy = lr.chunk({"band": cut(3, bands), "y": cut(*y), "x": cut(*x)})
    sr, whole = upscale(lazy, model), upscale(lr, model)
    assert sr.shape == whole.shape
    scale = float(np.nanmax(np.abs(lr))) if np.isfinite(lr).any() else 1.0
    np.testing.assert_allclose(sr, whole, atol=4e-6 * max(scale, 1.0))


@pytest.mark.parametrize("chunks", [{"y": 1, "x": 1}, {"y": (23, 1), "x": (1, 26)}, {"y": 24, "x": 2}])
def test_thin_chunks_and_remainders_of_one_pixel(chunks: Any) -> None:
    lr = raster((24, 27))
    sr = upscale(lr.chunk(chunks), DEEP)
    assert seam(upscale(lr, DEEP), sr) < 1e-6
    assert min(map(min, sr.chunks)) >= 2 * max(DEEP.halo) or max(map(len, sr.chunks)) == 1


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_stack_of_times_goes_from_file_to_file_step_by_step(tmp_path: Path, suffix: str) -> None:
    _, lr = counted(1, 2, 24, 27)
    stored: dict[str, Any] = (
        {"chunks": (1, 2, 24, 27)} if suffix == "zarr" else {"chunksizes": (1, 2, 24, 27)}
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Consolidated metadata.*")
        getattr(lr, {"zarr": "to_zarr", "nc": "to_netcdf"}[suffix])(
            tmp_path / f"lr.{suffix}", encoding={"r": stored}
        )
        engine = {"zarr": "zarr", "nc": "netcdf4"}[suffix]
        with xr.open_dataset(tmp_path / f"lr.{suffix}", chunks={}, engine=engine) as opened:
            sr = upscale(opened["r"], ESPCN)
            assert sr.chunks == ((1, 1, 1), (2,), (48,), (81,))
            sr_imaging.write(sr, tmp_path / "sr.zarr")
    back = sr_imaging.read(tmp_path / "sr.zarr")
    assert back.chunksizes["time"] == (1, 1, 1)
    np.testing.assert_array_equal(back["time"], [4, 5, 9])
    np.testing.assert_allclose(back, upscale(lr.compute(), ESPCN), atol=1e-6)


def test_bands_taken_together_are_one_chunk_and_times_stay_apart() -> None:
    source, lr = counted(1, 1, 24, 27)
    sr = upscale(lr, generator("espcn", scale=(2, 2), in_channels=2))
    assert sr.chunks == ((1, 1, 1), (2,), (48,), (54,))
    sr.isel(time=2).compute()
    assert source.reads.total() == 2


@pytest.mark.parametrize("chunks", [{}, {"x": 9}])
def test_result_on_a_mask_is_lazy(chunks: Any) -> None:
    source, lr = counted(1, 2, 12, 27)
    mask = xr.DataArray(smooth((24, 27)) > 0.4, dims=("y", "x"))
    sr = upscale(lr.assign_coords(mask=mask.chunk(chunks)), ESPCN)
    assert source.reads.total() == 0
    np.testing.assert_array_equal(sr["mask"], mask.values.repeat(2, 0).repeat(3, 1))
    kept = sr.values[..., ~sr["mask"].values]
    expected = lr.values.repeat(2, 2).repeat(3, 3)[..., ~mask.values.repeat(2, 0).repeat(3, 1)]
    np.testing.assert_array_equal(kept, expected)
