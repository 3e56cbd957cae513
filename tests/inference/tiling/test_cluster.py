"""Clusters: the same result, the model once for each worker, lost workers cost time, progress comes back."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import numpy as np
import pytest
import xarray as xr
from helpers.builders import generator, raster, scan
from helpers.places import ROOT

import sr_imaging
from sr_imaging import CancelledError, ConfigError, upscale
from sr_imaging.batch.on_cluster import is_sent
from sr_imaging.batch.plan import plan_batch
from sr_imaging.batch.run import run_batch
from sr_imaging.batch.task import BatchOptions, Task
from sr_imaging.inference.tiling import cluster

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",  # sockets of workers that a test kills
    "ignore:Sending large graph",
)
WIDE = generator("espcn", scale=(2, 2), channels=128)  # 350 kB of weights
ESPCN = generator("espcn", scale=(2, 2))
LR = raster((2, 60, 70))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes, as ``--cluster local:2`` starts them."""
    with cluster.connect("local:2") as joined:
        yield joined


def blocks() -> xr.DataArray:
    return LR.chunk({"band": 1, "y": 20, "x": 35})


def until(is_true: Callable[[], bool], timeout_s: float = 30) -> bool:
    """Wait for what other processes do."""
    end = time.monotonic() + timeout_s
    while not is_true() and time.monotonic() < end:
        time.sleep(0.02)
    return is_true()


@pytest.mark.slow
def test_same_call_gives_the_same_result(client: Any) -> None:
    assert len(client.nthreads()) == 2
    np.testing.assert_allclose(upscale(blocks(), ESPCN), upscale(LR, ESPCN), atol=2e-4)


def test_call_computes_nothing_on_the_cluster(client: Any) -> None:
    sr = upscale(blocks(), ESPCN)
    assert until(lambda: len(client.who_has()) == 1)
    assert [str(key)[:9] for key in client.who_has()] == ["sr-model-"]
    del sr
    assert until(lambda: not client.who_has())


def test_model_is_no_part_of_the_blocks(client: Any) -> None:
    weights = sum(4 * tensor.numel() for tensor in WIDE.state_dict().values())
    graph = dict(upscale(blocks(), WIDE).data.__dask_graph__())
    assert len(cloudpickle.dumps(graph)) < LR.nbytes + 20_000 < weights


@pytest.mark.slow
def test_model_reaches_each_worker_once(client: Any, tmp_path: Path) -> None:
    from sr_imaging.inference.tiling.delivery import _ARRIVED

    sr = [upscale(blocks() + k, WIDE) for k in range(3)]  # held, as an array that is written in parts is
    for one in sr:
        for part in np.array_split(np.arange(one.sizes["y"]), 3):
            one.isel(y=part).compute()
    (key,) = {key for key in client.who_has() if str(key).startswith("sr-model-")}
    assert len(client.who_has()[key]) == 2
    name = str(key).removeprefix("sr-model-")
    made = client.run(lambda: _ARRIVED[name]._engine is not None)
    assert list(made.values()) == [True, True]


def test_killed_worker_costs_no_result(client: Any) -> None:
    (victim, *_) = client.run(os.getpid).values()
    killed = threading.Event()

    def kill(done: int, total: int) -> None:
        if done >= 4 and not killed.is_set():
            killed.set()
            os.kill(victim, signal.SIGKILL)

    sr = upscale(blocks(), WIDE, progress=kill).compute()
    assert killed.is_set()
    np.testing.assert_allclose(sr, upscale(LR, WIDE), atol=2e-4)
    assert until(lambda: len(client.nthreads()) == 2)
    assert victim not in client.run(os.getpid).values()


@pytest.mark.slow
def test_progress_counts_blocks_from_the_workers(client: Any) -> None:
    seen: list[tuple[int, int]] = []
    sr = upscale(blocks(), ESPCN, progress=lambda done, total: seen.append((done, total)))
    assert seen == []
    sr.compute()
    assert until(lambda: len(seen) == 12)
    assert seen == [(k, 12) for k in range(1, 13)]


@pytest.mark.slow
def test_cancel_in_progress_stops_the_workers(client: Any) -> None:
    def stop(done: int, total: int) -> None:
        raise CancelledError("enough")

    many = raster((4, 60, 70)).chunk({"band": 1, "y": 6, "x": 7})
    with pytest.raises(CancelledError, match="the caller asked to stop"):
        upscale(many, "nearest", scale=2, progress=stop).compute()


def test_attrs_tell_what_was_asked_for(client: Any) -> None:
    sr = upscale(blocks(), ESPCN, precision="float32")
    assert (sr.attrs["sr_device"], sr.attrs["sr_precision"]) == ("auto", "float32")


def test_device_of_the_workers_may_be_asked_for_from_elsewhere(client: Any) -> None:
    sr = upscale(blocks(), ESPCN, device="cuda:77")
    with pytest.raises(ConfigError, match="device 'cuda:77' is not available here; use 'cpu'"):
        sr.compute()


def test_numpy_arrays_are_computed_here(client: Any) -> None:
    assert upscale(LR, ESPCN).attrs["sr_device"] == "cpu"


def test_workers_write_one_store_together(client: Any, tmp_path: Path) -> None:
    sr_imaging.write(upscale(blocks(), ESPCN), tmp_path / "sr.zarr")
    np.testing.assert_allclose(sr_imaging.read(tmp_path / "sr.zarr"), upscale(LR, ESPCN), atol=2e-4)


def test_dataset_is_computed_by_the_workers(client: Any) -> None:
    ds = xr.Dataset({"a": blocks(), "b": blocks() * 2})
    sr = upscale(ds, ESPCN).compute()
    np.testing.assert_allclose(sr["b"], upscale(LR * 2, ESPCN), atol=4e-4)


def test_page_of_the_docs_does_what_it_says(client: Any, tmp_path: Path, monkeypatch: Any) -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    stack = LR.expand_dims(time=[3, 8]).chunk({"time": 1})
    stack.to_dataset(name="reflectance").to_zarr("scene.zarr", zarr_format=2)
    names: dict[str, Any] = {}
    exec(block.replace("tcp://10.0.0.5:8786", client.scheduler.address), names)
    names["client"].close()
    np.testing.assert_allclose(
        sr_imaging.read("scene-x2.zarr")[1], upscale(LR, "raster-x2", precision="float32"), atol=2e-4
    )


# Which cluster
def test_unknown_cluster_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"unknown cluster 'local:0'; give local:2 or an address like tcp"),
        cluster.connect("local:0"),
    ):
        pass


def test_scheduler_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_TIMEOUT_S", 0.3)
    text = r"no scheduler answers at tcp://127.0.0.1:9 within 0.3 s; check the address and the network"
    with pytest.raises(ConfigError, match=text), cluster.connect("tcp://127.0.0.1:9"):
        pass


def test_cluster_is_joined_by_its_address(client: Any) -> None:
    with cluster.connect(client.scheduler.address) as joined:
        assert joined.nthreads() == client.nthreads()
        assert cluster.current_client() is joined


def test_workers_of_another_version_are_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with (
        pytest.raises(ConfigError, match=r"have sr_imaging 0.1.0, here is 9.9; install the same"),
        cluster.connect(client.scheduler.address),
    ):
        pass


def test_cluster_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    text = r"a cluster needs dask.distributed; install it with pip install 'sr-imaging\[cluster\]'"
    with pytest.raises(ConfigError, match=text), cluster.connect("local:2"):
        pass


@pytest.mark.parametrize(
    ("gpus", "seen", "expected"),
    [(0, None, {}), (1, None, {}), (2, None, {0: "0", 1: "1", 2: "0"}), (2, "4,7", {0: "4", 1: "7", 2: "4"})],
)
def test_local_workers_share_cores_and_take_a_gpu_each(
    gpus: int, seen: str | None, expected: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert set(cluster.cores_of(3).values()) == {"2"}
    assert cluster.cores_of(99)["OMP_NUM_THREADS"] == "1"
    assert {k: g["CUDA_VISIBLE_DEVICES"] for k in range(3) if (g := cluster.gpu_of(k))} == expected


def test_memory_is_kept_between_tiles_and_the_environment_as_it_was(client: Any) -> None:
    assert client.run(lambda: "MALLOC_TRIM_THRESHOLD_" in os.environ) == dict.fromkeys(
        client.run(os.getpid), "MALLOC_TRIM_THRESHOLD_" in os.environ
    )
    before = dict(os.environ)
    with cluster.connect("local:1") as other:
        assert other.submit(int, "7").result() == 7
    assert dict(os.environ) == before


# Without a cluster
@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_store_is_written_from_many_threads_and_processes(tmp_path: Path, scheduler: str) -> None:
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sr_imaging.write(upscale(blocks(), ESPCN, progress=lambda done, total: None), tmp_path / "sr.zarr")
    np.testing.assert_allclose(sr_imaging.read(tmp_path / "sr.zarr"), upscale(LR, ESPCN), atol=2e-4)


def test_array_made_without_a_cluster_is_computed_by_one(client: Any) -> None:
    with dask.config.set(scheduler="threads"):
        sr = upscale(blocks(), ESPCN)
    np.testing.assert_allclose(sr.compute(), upscale(LR, ESPCN), atol=2e-4)


# Many scans
def scans(folder: Path) -> Path:
    """Two rasters of the same size, a large one, a series, and a file that is none."""
    for name, shape in (("a.tif", (1, 9, 12)), ("b.tif", (1, 9, 12)), ("large.tif", (2, 90, 96))):
        sr_imaging.write(raster(shape, dtype=np.uint16), folder / name)
    sr_imaging.write(scan((4, 9, 12), angles=(0, 0, 0)), folder / "knee", format="dicom")
    (folder / "bad.tif").write_bytes(b"II*\0")
    return folder


def test_only_what_is_no_bottleneck_is_sent_whole(tmp_path: Path) -> None:
    plan = plan_batch([scans(tmp_path / "in")], tmp_path / "out", BatchOptions("cubic", scale=2))
    sent = {task.found.place.name: is_sent(task, plan.tasks, 2) for task in plan.tasks}
    assert sent == {"a.tif": True, "b.tif": True, "bad.tif": False, "knee": True, "large.tif": False}


def test_scans_on_a_cluster_are_those_of_one_process(client: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(scans(tmp_path / "in").parent)
    monkeypatch.setattr("sr_imaging.batch.run.connect", lambda place: nullcontext(client))
    tiles: list[tuple[int, int]] = []
    with dask.config.set(scheduler="threads"):
        here = run_batch(plan_batch(["in"], "here", BatchOptions("cubic", scale=2)))
    spread = run_batch(
        plan_batch(["in"], "spread", BatchOptions("cubic", scale=2, cluster="local:2")), listener=Told(tiles)
    )
    assert [r.status for r in spread.results] == [r.status for r in here.results]
    assert spread.count("done") == 4
    assert spread.exit_code == here.exit_code == 3
    for name in ("a.tif", "large.tif", "knee"):
        np.testing.assert_allclose(sr_imaging.read(f"spread/{name}"), sr_imaging.read(f"here/{name}"), atol=1)
    again = plan_batch(["in"], "spread", BatchOptions("cubic", scale=2, cluster="local:2", resume=True))
    assert [task.action for task in again.tasks].count("up to date") == 4
    assert max(done for done, _ in tiles) > 0


class Told:
    """A listener that keeps the progress."""

    def __init__(self, tiles: list[tuple[int, int]]) -> None:
        self._tiles = tiles

    def started(self, task: Task, number: int, total: int) -> None:
        """Take no note."""

    def tiles(self, done: int, total: int) -> None:
        """Keep it."""
        self._tiles.append((done, total))

    def ended(self, result: Any) -> None:
        """Take no note."""


@pytest.mark.slow
def test_killed_worker_costs_no_scan_and_leaves_nothing(
    client: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        sr_imaging.write(raster((3, 300, 320), dtype=np.uint16), tmp_path / "in" / name)
    monkeypatch.setattr("sr_imaging.batch.run.connect", lambda place: nullcontext(client))
    killed: list[int] = []

    class Killer(Told):
        def tiles(self, done: int, total: int) -> None:
            parts = list((tmp_path / "out").glob(".*-part-*.tif"))
            if parts and not killed:
                killed.append(int(parts[0].name.split("-")[0].removeprefix(".")))
                os.kill(killed[0], signal.SIGKILL)

    options = BatchOptions("cubic", scale=2, tile=64, cluster="local:2")
    report = run_batch(plan_batch([tmp_path / "in"], tmp_path / "out", options), listener=Killer([]))
    assert killed
    assert report.count("done") == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".sr_imaging-done.jsonl",
        "a.tif",
        "b.tif",
        "c.tif",
    ]


def test_interrupt_stops_the_workers(client: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        sr_imaging.write(raster((3, 300, 320), dtype=np.uint16), tmp_path / "in" / name)
    monkeypatch.setattr("sr_imaging.batch.run.connect", lambda place: nullcontext(client))

    class Impatient(Told):
        def ended(self, result: Any) -> None:
            raise KeyboardInterrupt

    options = BatchOptions("cubic", scale=2, tile=32, cluster="local:2")
    report = run_batch(plan_batch([tmp_path / "in"], tmp_path / "out", options), listener=Impatient([]))
    assert report.exit_code == 130
    assert until(lambda: not any(client.processing().values()))
    assert until(lambda: not list((tmp_path / "out").glob(".*-part-*")))
    assert len(list((tmp_path / "out").glob("*.tif"))) < 3
