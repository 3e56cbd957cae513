"""Resampling onto any grid: ramps stay ramps, chunks change nothing, invalid pixels stay where they were."""

from typing import Any

import dask.array
import numpy as np
import pytest
from helpers.builders import smooth
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_imaging.image.grid.axes import fine_centres, fine_size
from sr_imaging.image.pixels.resampling import repeat_nearest, resample
from sr_imaging.networks import INTERPOLATIONS

PAIRS = [(1, 2.5), (1, 1.2), (4, 5), (4, 2.5), (2, 3.3), (4, 1.7), (1, 0.4), (3, 1)]


def centres(n: int, scale: float) -> np.ndarray:
    """Fine centres in units of coarse pixels."""
    return fine_centres(np.arange(float(n)), scale)


@pytest.mark.parametrize(("have", "want"), PAIRS)
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_resample_keeps_ramps_straight(have: float, want: float, method: str) -> None:
    ramp = 3 * centres(20, have) - 7
    made = resample(np.stack([ramp, ramp]), {1: (have, want)}, method)
    assert made.shape == (2, fine_size(20, want))
    expected = 3 * centres(20, want) - 7
    inside = slice(int(4 * want) + 1, -int(4 * want) - 1)
    np.testing.assert_allclose(made[0, inside], expected[inside], atol=1e-10)


@pytest.mark.parametrize("method", INTERPOLATIONS)
@pytest.mark.parametrize(("have", "want"), PAIRS)
def test_resample_keeps_constants(have: float, want: float, method: str) -> None:
    made = resample(np.full(int(12 * have), 4.25), {0: (have, want)}, method)
    np.testing.assert_allclose(made, 4.25, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.sampled_from(list(INTERPOLATIONS)),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.floats(0, 0.5),
)
def test_resample_of_chunks_equals_the_whole(pair: Any, method: str, chunks: list[int], share: float) -> None:
    have, want = pair
    data = smooth((sum(chunks) * have, 7))
    data[np.random.default_rng(1).random(data.shape) < share] = np.nan
    lazy = dask.array.from_array(data, (tuple(c * have for c in chunks), 4))
    whole = resample(data, {0: (have, want), 1: (1, 1.5)}, method)
    made = resample(lazy, {0: (have, want), 1: (1, 1.5)}, method)
    assert made.shape == whole.shape
    assert made.dtype == whole.dtype
    for place in np.ndindex(made.numblocks):
        block = made.blocks[place]
        assert block.compute(scheduler="sync").shape == block.shape
    np.testing.assert_allclose(made.compute(scheduler="sync"), whole, atol=1e-12)


def test_resample_reads_its_neighbourhood_only() -> None:
    seen: list[int] = []

    def note(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen.append(block_info[0]["chunk-location"][0])
        return block

    lazy: Any = dask.array.ones(80, chunks=8).map_blocks(note, dtype=float, meta=np.empty(0))
    resample(lazy, {0: (1, 2.5)})[:5].compute(scheduler="sync")
    assert set(seen) <= {0, 1}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resample_keeps_the_type(dtype: Any) -> None:
    assert resample(smooth((9, 8)).astype(dtype), {0: (1, 1.5)}).dtype == dtype


def test_resample_takes_the_nearest_pixel_where_a_neighbour_is_invalid() -> None:
    line = np.arange(12.0)
    line[6] = np.nan
    made = resample(line, {0: (1, 2.5)})
    at = np.rint(centres(12, 2.5)).astype(int).clip(0, 11)
    np.testing.assert_array_equal(np.isnan(made), at == 6)
    assert (np.abs(made - centres(12, 2.5))[np.isfinite(made)] < 0.75).all()


def test_resample_to_a_coarser_grid_is_the_mean_of_its_pixels() -> None:
    data = smooth((24,))
    np.testing.assert_allclose(resample(data, {0: (4, 1)}, "nearest"), data.reshape(6, 4).mean(1), atol=1e-12)


def test_resample_of_the_same_grid_changes_nothing() -> None:
    data = smooth((5, 6))
    assert resample(data, {0: (2, 2), 1: (1, 1)}) is data


@pytest.mark.parametrize("scale", [1, 2, 3, 1.5, 2.2, 0.5])
@pytest.mark.parametrize("chunked", [False, True])
def test_repeated_pixels_are_those_that_hold_the_centre(scale: float, chunked: bool) -> None:
    data = np.arange(30).reshape(10, 3)
    made = repeat_nearest(dask.array.from_array(data, 4) if chunked else data, {0: scale})
    assert made.shape == (fine_size(10, scale), 3)
    assert made.dtype == data.dtype
    holder = np.floor((np.arange(made.shape[0]) + 0.5) / scale).clip(0, 9)
    np.testing.assert_array_equal(np.asarray(made)[:, 0] // 3, holder)
