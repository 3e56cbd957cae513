"""Batches: what arguments mean, where outputs go, what a resume believes, what a failure does."""

import json
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sr_imaging
from sr_imaging.batch import one_scan as batch_scan
from sr_imaging.batch import plan as batch_plan
from sr_imaging.batch.inputs import find_inputs
from sr_imaging.batch.plan import plan_batch
from sr_imaging.batch.run import run_batch
from sr_imaging.batch.task import BatchOptions
from sr_imaging.errors import ConfigError, ModelError, ResourceError, WriteError
from sr_imaging.image.grid.volumes import volume

DOUBLE = BatchOptions(model="cubic", scale=2)


def raster(path: Path, *, seed: int = 0) -> Path:
    """A small GeoTIFF of 2 bands, 9 rows, 12 columns."""
    values = np.random.default_rng(seed).integers(1, 4000, (2, 9, 12)).astype("uint16")
    coords = {"band": [1, 2], "y": 5e6 - 10 * np.arange(9.0), "x": 4e5 + 10 * np.arange(12.0)}
    return sr_imaging.write(xr.DataArray(values, dims=("band", "y", "x"), coords=coords), path)


def series(folder: Path, *, seed: int = 0) -> Path:
    """A small MR series of 5 slices."""
    affine = np.array([[0, 0, 0.8, -9], [0, 0.7, 0, 4], [4, 0, 0, 30], [0, 0, 0, 1.0]])
    values = np.random.default_rng(seed).integers(0, 900, (5, 11, 13)).astype("int16")
    da = volume(values, affine, reference={"modality": "MR"})
    return sr_imaging.write(da, folder, format="dicom")


def truncated(path: Path) -> Path:
    """A GeoTIFF that is cut in its middle."""
    raster(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def places(arguments: list[Any]) -> list[str]:
    return [item.place.as_posix() for item in find_inputs(arguments)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Folder ``in`` with a raster at its top, one below, and a series."""
    folder = tmp_path / "in"
    raster(folder / "a.tif")
    raster(folder / "deep" / "b.tiff", seed=1)
    series(folder / "knee")
    return folder


def test_folder_means_all_below_it(tree: Path) -> None:
    assert places([tree]) == ["a.tif", "deep/b.tiff", "knee"]


def test_pattern_keeps_the_tree_below_its_fixed_part(tree: Path) -> None:
    assert places([str(tree / "**" / "*.tif*")]) == ["a.tif", "deep/b.tiff"]


def test_list_names_one_path_a_line(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"# scans\n{tree / 'a.tif'}\n\n{tree / 'knee'}\n", encoding="utf-8")
    assert places([f"@{tmp_path / 'list.txt'}"]) == ["a.tif", "knee"]


def test_list_that_is_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the list nowhere\.txt"):
        find_inputs(["@nowhere.txt"])


def test_slices_named_one_by_one_form_one_series(tree: Path) -> None:
    (found,) = find_inputs(sorted((tree / "knee").iterdir()))
    assert (found.scan.shape, found.place) == ((5, 11, 13), Path("knee"))


def test_zip_is_named_by_its_own_path(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.write(tree / "deep" / "b.tiff", "deep/b.tiff")
    (found,) = find_inputs([tmp_path / "scans.zip"])
    assert (found.label, found.place) == (str(tmp_path / "scans.zip/deep/b.tiff"), Path("deep/b.tiff"))


def test_scan_named_twice_is_done_once(tree: Path) -> None:
    assert places([tree, tree / "a.tif"]) == ["a.tif", "deep/b.tiff", "knee"]


def test_missing_path_is_found_with_its_reason(tmp_path: Path) -> None:
    (found,) = find_inputs([tmp_path / "nowhere"])
    assert not found.scan.verdict.ok
    assert "no such file or folder" in found.scan.verdict.reason


def outputs(arguments: list[Any], folder: Path, **changes: Any) -> list[str]:
    options = BatchOptions(**{"model": "cubic", "scale": 2, **changes})
    plan = plan_batch(arguments, folder, options)
    return [task.output.relative_to(folder).as_posix() for task in plan.tasks if task.output]


def test_outputs_mirror_the_inputs(tree: Path, tmp_path: Path) -> None:
    assert outputs([tree], tmp_path / "out") == ["a.tif", "deep/b.tiff", "knee"]


def test_series_that_fills_the_input_gets_its_name(tree: Path, tmp_path: Path) -> None:
    assert outputs([tree / "knee"], tmp_path / "out") == ["knee"]


def test_series_that_share_a_folder_get_folders_of_their_own(tree: Path, tmp_path: Path) -> None:
    for path in sorted(series(tmp_path / "more", seed=2).iterdir()):
        path.rename(tree / "knee" / f"more-{path.name}")
    made = outputs([tree / "knee"], tmp_path / "out")
    assert len(made) == 2
    assert all(name.startswith("knee/series") for name in made)
    assert len(set(made)) == 2


@pytest.mark.parametrize(
    ("template", "format", "name"),
    [
        ("{stem}-x{scale}", None, "a-x2.tif"),
        ("{model}/{stem}", "zarr", "cubic/a.zarr"),
        ("{stem}.TIF", "cog", "a.TIF"),
    ],
)
def test_template_names_the_outputs(
    template: str, format: str | None, name: str, tree: Path, tmp_path: Path
) -> None:
    assert outputs([tree / "a.tif"], tmp_path / "out", name=template, format=format) == [name]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{sten}", r"unknown field \{sten\}"),
        ("../{stem}", "must be a name below the output folder"),
        ("{stem", "is not a template"),
    ],
)
def test_template_that_makes_no_name_is_refused(
    template: str, message: str, tree: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        outputs([tree], tmp_path / "out", name=template)


def test_names_that_collide_are_refused_before_any_work(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would both be written to"):
        outputs([tree], tmp_path / "out", name="same", format="zarr")


def test_input_is_never_an_output(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"would replace the input .*a\.tif"):
        plan_batch([tree], tree, DOUBLE)


def test_named_input_is_never_the_output_file(tree: Path) -> None:
    (tree / "deep" / "b.tiff").rename(tree / "b.tif")
    over = BatchOptions(model="cubic", scale=2, if_exists="overwrite")
    with pytest.raises(ConfigError, match=r"a.tif would replace the input .*a.tif; give another folder"):
        plan_batch([tree / "a.tif"], tree / "a.tif", over)
    with pytest.raises(ConfigError, match=r"a.tif is one file, but there are 2 scans; give a folder"):
        plan_batch([tree / "a.tif", tree / "b.tif"], tree / "a.tif", over)


def test_output_below_a_file_is_refused_before_any_work(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file is a file, not a folder; choose another folder"):
        run_batch(plan_batch([tree], tmp_path / "file", DOUBLE))


def test_output_folder_that_is_not_writable_is_refused_before_any_work(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_batch([tree / "a.tif"], tmp_path / "new" / "out", DOUBLE)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(WriteError, match=r"cannot write into .*; choose a folder you may write to"):
        plan.check()


def test_failure_names_the_files_that_a_series_lost(tree: Path, tmp_path: Path) -> None:
    slices = sorted((tree / "knee").iterdir())
    slices[2].write_bytes(slices[2].read_bytes()[:-100])
    (task,) = plan_batch([tree / "knee"], tmp_path / "out", DOUBLE).tasks
    assert task.action == "fail"
    assert f"1 slice is missing: gap of 8 mm between {slices[1].name}" in task.cause
    assert f"{slices[2].name} left out: truncated: 186 of 286 bytes of pixel data" in task.cause


def test_lost_slice_at_the_end_of_a_series_is_a_warning_of_the_report(tree: Path, tmp_path: Path) -> None:
    last = max((tree / "knee").iterdir())
    last.write_bytes(last.read_bytes()[:-100])
    report = run_batch(plan_batch([tree / "knee"], tmp_path / "out", DOUBLE))
    assert report.exit_code == 0
    assert any(f"{last.name} left out: truncated" in text for text in report.results[0].warnings)


def test_results_inside_an_input_folder_are_no_inputs(tree: Path) -> None:
    run_batch(plan_batch([tree], tree / "out", DOUBLE))
    plan = plan_batch([tree], tree / "out", BatchOptions(model="cubic", scale=2, resume=True))
    assert [task.action for task in plan.tasks] == ["up to date"] * 3


def test_file_as_output_of_several_scans_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one\.tif is one file, but there are 3 scans"):
        plan_batch([tree], tmp_path / "one.tif", DOUBLE)


def test_format_that_is_not_written_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write \.png files"):
        plan_batch([tree / "a.tif"], tmp_path / "one.png", DOUBLE)


def test_plan_states_grids_without_reading_pixels(tree: Path, tmp_path: Path) -> None:
    plan = plan_batch([tree / "knee"], tmp_path / "out", BatchOptions(model="cubic", scale={"z": 4}))
    (task,) = plan.tasks
    assert (task.shape, task.fine_shape) == ((5, 11, 13), (20, 11, 13))
    assert task.fine_spacing == pytest.approx({"z": 1.0, "y": 0.7, "x": 0.8})
    assert task.fine_nbytes == 20 * 11 * 13 * 2


def test_plan_knows_the_modality_of_a_nifti_of_ours(tree: Path, tmp_path: Path) -> None:
    path = sr_imaging.write(sr_imaging.read(tree / "knee"), tmp_path / "knee.nii.gz")
    assert find_inputs([path])[0].scan.modality == "MR"


def test_model_that_is_missing_is_refused_before_any_work(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model 'nothing'"):
        plan_batch([tree], tmp_path / "out", BatchOptions(model="nothing"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"max_memory": "much"}, "'much' is not an amount of memory"),
        ({"format": "png"}, "unknown format 'png'"),
        ({"if_exists": "ask"}, "unknown choice 'ask'"),
    ],
)
def test_impossible_option_is_refused_before_any_work(
    changes: dict[str, str], message: str, tree: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        outputs([tree], tmp_path / "out", **changes)


def test_bad_scan_does_not_stop_the_others(tree: Path, tmp_path: Path) -> None:
    truncated(tree / "aa.tif")
    ran = run_batch(plan_batch([tree], tmp_path / "out", DOUBLE))
    assert [result.status for result in ran.results] == ["done", "failed", "done", "done"]
    assert ran.exit_code == 3
    assert sr_imaging.read(tmp_path / "out" / "deep" / "b.tiff").shape == (2, 18, 24)


@pytest.mark.parametrize("error", [MemoryError("no memory"), KeyError("band"), RuntimeError("odd")])
def test_unexpected_error_stays_with_its_scan(
    error: Exception, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = batch_scan.read

    def failing(scan: Any, **options: Any) -> Any:
        if scan.path.name == "a.tif":
            raise error
        return read(scan, **options)

    monkeypatch.setattr(batch_scan, "read", failing)
    ran = run_batch(plan_batch([tree], tmp_path / "out", DOUBLE))
    assert [result.status for result in ran.results] == ["failed", "done", "done"]
    assert ran.results[0].cause.startswith(type(error).__name__)
    assert "Traceback" in ran.results[0].trace


@pytest.mark.slow
def test_raster_of_classes_is_repeated_not_refused(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd" / "geotiff_variants" / "cog_cmap.tif"
    ran = run_batch(plan_batch([source], tmp_path / "out", DOUBLE))
    assert ran.exit_code == 0
    before, after = sr_imaging.read(source), sr_imaging.read(tmp_path / "out" / "cog_cmap.tif")
    assert np.array_equal(after.values[:, ::2, ::2], before.values)


def test_fail_fast_stops_at_the_first_failure(tree: Path, tmp_path: Path) -> None:
    truncated(tree / "aa.tif")
    options = BatchOptions(model="cubic", scale=2, fail_fast=True)
    ran = run_batch(plan_batch([tree], tmp_path / "out", options))
    assert [result.status for result in ran.results] == ["done", "failed", "not started", "not started"]


def test_model_is_loaded_once(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(tmp_path / "double.safetensors")
    loaded = []
    load = batch_plan.load_model

    def counting(*args: Any, **kwargs: Any) -> Any:
        loaded.append(args[0])
        return load(*args, **kwargs)

    monkeypatch.setattr(batch_plan, "load_model", counting)
    ran = run_batch(
        plan_batch([tree / "a.tif", tree / "deep"], tmp_path / "out", BatchOptions(model=str(model)))
    )
    assert ran.exit_code == 0
    assert loaded.count(str(model)) == 1


def trained(path: Path) -> Path:
    """A model file of scale 2 that has learned nothing: it equals cubic interpolation."""
    from sr_imaging.models.card import ModelCard
    from sr_imaging.networks import build_generator

    arguments = {"scale": [2, 2], "channels": 4, "blocks": 1}
    generator = build_generator("srresnet", arguments)
    card = ModelCard.of(generator, name=path.stem, architecture="srresnet", arguments=arguments)
    return sr_imaging.save_model(generator, path, card)


def actions(tree: Path, out: Path, **changes: Any) -> list[str]:
    options = BatchOptions(**{"model": "cubic", "scale": 2, "resume": True, **changes})
    return [task.action for task in plan_batch([tree], out, options).tasks]


@pytest.fixture
def done(tree: Path, tmp_path: Path) -> Path:
    """Output folder of a finished batch over `tree`."""
    run_batch(plan_batch([tree], tmp_path / "out", DOUBLE))
    return tmp_path / "out"


def test_resume_believes_what_is_finished(tree: Path, done: Path) -> None:
    assert actions(tree, done) == ["up to date"] * 3


def other_input(tree: Path, done: Path) -> None:
    (tree / "a.tif").unlink()
    raster(tree / "a.tif", seed=9)


def damaged_output(tree: Path, done: Path) -> None:
    (done / "a.tif").write_bytes((done / "a.tif").read_bytes()[:99])


def lost_output(tree: Path, done: Path) -> None:
    (done / "a.tif").unlink()


@pytest.mark.parametrize("change", [other_input, damaged_output, lost_output])
def test_resume_redoes_what_has_changed(change: Callable[[Path, Path], None], tree: Path, done: Path) -> None:
    change(tree, done)
    assert actions(tree, done) == ["run", "up to date", "up to date"]


def test_resume_redoes_a_series_that_lost_a_slice(tree: Path, done: Path) -> None:
    next((done / "knee").iterdir()).unlink()
    assert actions(tree, done) == ["up to date", "up to date", "run"]


@pytest.mark.parametrize("changes", [{"scale": 3}, {"model": "linear"}, {"seed": 1}])
def test_resume_redoes_all_for_another_question(changes: dict[str, Any], tree: Path, done: Path) -> None:
    assert actions(tree, done, **changes) == ["run"] * 3


def test_resume_distrusts_outputs_of_others(tree: Path, tmp_path: Path) -> None:
    raster(tmp_path / "out" / "a.tif", seed=5)
    assert actions(tree, tmp_path / "out") == ["run"] * 3


def test_resume_survives_a_journal_cut_short(tree: Path, done: Path) -> None:
    (journal,) = [path for path in done.iterdir() if path.name.startswith(".")]
    journal.write_text(journal.read_text()[:-30])
    assert actions(tree, done) == ["up to date", "up to date", "run"]


def test_existing_output_is_refused_unless_told(tree: Path, done: Path) -> None:
    with pytest.raises(ConfigError, match=r"3 of 3 outputs exist, the first is .*a\.tif; give --resume"):
        run_batch(plan_batch([tree], done, DOUBLE))


def test_existing_output_is_kept_by_skip(tree: Path, done: Path) -> None:
    before = (done / "a.tif").stat().st_mtime_ns
    ran = run_batch(plan_batch([tree], done, BatchOptions(model="linear", scale=2, if_exists="skip")))
    assert ran.count("skipped") == 3
    assert (done / "a.tif").stat().st_mtime_ns == before


def test_existing_output_is_replaced_by_overwrite(tree: Path, done: Path) -> None:
    before = sr_imaging.read(done / "a.tif").load()
    ran = run_batch(plan_batch([tree], done, BatchOptions(model="nearest", scale=2, if_exists="overwrite")))
    assert ran.count("done") == 3
    assert not np.array_equal(before, sr_imaging.read(done / "a.tif"))


def test_disk_that_is_too_small_is_refused_before_any_work(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 99, 99))
    with pytest.raises(ResourceError, match=r"take up to .* has 99 B free; free some space"):
        run_batch(plan_batch([tree], tmp_path / "out", DOUBLE))
    assert not (tmp_path / "out").exists()


def test_memory_that_is_too_small_fails_the_scans_that_do_not_stream(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(batch_plan.psutil, "virtual_memory", lambda: memory(999))
    plan = plan_batch([tree], tmp_path / "out", BatchOptions(model="cubic", scale=2, max_memory=2**30))
    assert [task.action for task in plan.tasks] == ["run", "run", "fail"]
    assert "convert it to Zarr" in plan.tasks[2].cause


def test_interrupt_leaves_no_half_output(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    plan = plan_batch([tree], tmp_path / "out", DOUBLE)
    monkeypatch.setattr(batch_scan, "write", interrupted)
    ran = run_batch(plan)
    assert [result.status for result in ran.results] == ["interrupted", "not started", "not started"]
    assert ran.exit_code == 130
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_inputs_are_not_modified(tree: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    run_batch(plan_batch([tree], tmp_path / "out", DOUBLE))
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_report_says_what_was_doubtful(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    super_resolve = batch_scan.super_resolve

    def doubtful(*args: Any, **kwargs: Any) -> Any:
        warnings.warn("spacing outside the trained range; check the result", stacklevel=1)
        return super_resolve(*args, **kwargs)

    monkeypatch.setattr(batch_scan, "super_resolve", doubtful)
    ran = run_batch(plan_batch([tree / "a.tif"], tmp_path / "out", DOUBLE))
    ran.write(tmp_path / "run.json")
    (scan,) = json.loads((tmp_path / "run.json").read_text())["scans"]
    assert "spacing outside the trained range" in scan["warnings"][0]


def test_progress_reaches_its_total(tree: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []

    class Seen:
        def started(self, task: Any, number: int, total: int) -> None: ...

        def tiles(self, done: int, total: int) -> None:
            steps.append((done, total))

        def ended(self, result: Any) -> None: ...

    run_batch(plan_batch([tree / "a.tif"], tmp_path / "out", DOUBLE), listener=Seen())
    assert steps[-1][0] == steps[-1][1]


def test_report_of_a_run_with_a_guide_is_written(tree: Path, tmp_path: Path) -> None:
    guide = raster(tmp_path / "guide.tif")
    options = BatchOptions(model="cubic", scale=2, guide=guide)
    run_batch(plan_batch([tree / "knee"], tmp_path / "out", options)).write(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["options"]["guide"] == str(guide)
