"""The command line: exit codes, what goes to stdout and stderr, results that lie where their sources lay."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import sr_imaging
from sr_imaging.cli.__main__ import app

HELP_SECONDS = 0.4
HELP_STARTS = 8  # times a bare start of Python


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def program(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from sr_imaging.cli.__main__ import main; main()", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def raster(path: Path, *, side: int = 9) -> Path:
    values = np.random.default_rng(side).integers(1, 4000, (2, side, side + 3)).astype("uint16")
    coords = {"band": [1, 2], "y": 5e6 - 10 * np.arange(float(side)), "x": 4e5 + 10 * np.arange(side + 3.0)}
    return sr_imaging.write(xr.DataArray(values, dims=("band", "y", "x"), coords=coords), path)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Folder of two good rasters."""
    raster(tmp_path / "in" / "a.tif")
    raster(tmp_path / "in" / "deep" / "b.tif", side=11)
    return tmp_path / "in"


@pytest.fixture
def mixed(scans: Path) -> Path:
    """The same with a truncated TIFF between them."""
    whole = raster(scans / "bad.tif", side=20).read_bytes()
    (scans / "bad.tif").write_bytes(whole[: len(whole) // 2])
    return scans


def cubic(inputs: object, output: Path, *more: object) -> Any:
    return run("upscale", inputs, "-o", output, "-m", "cubic", "--scale", 2, *more)


def test_good_folder_exits_0(scans: Path, tmp_path: Path) -> None:
    done = cubic(scans, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert sr_imaging.read(tmp_path / "out" / "deep" / "b.tif").shape == (2, 22, 28)


def test_up_to_date_folder_exits_0(scans: Path, tmp_path: Path) -> None:
    cubic(scans, tmp_path / "out")
    done = cubic(scans, tmp_path / "out", "--resume")
    assert (done.exit_code, "2 up to date" in done.stderr) == (0, True)


def test_one_bad_scan_exits_3_and_the_others_are_done(mixed: Path, tmp_path: Path) -> None:
    done = cubic(mixed, tmp_path / "out")
    assert done.exit_code == 3
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.tif")) == ["a.tif", "b.tif"]


def test_failure_is_one_line_with_path_cause_and_remedy(mixed: Path, tmp_path: Path) -> None:
    done = cubic(mixed, tmp_path / "out")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("FAIL")]
    assert line.startswith(f"FAIL {mixed / 'bad.tif'}: is cut short")
    assert "; " in line
    assert "Traceback" not in done.output


def test_nothing_readable_exits_4(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    assert cubic(tmp_path, tmp_path / "out").exit_code == 4
    assert cubic(tmp_path / "nowhere", tmp_path / "out").exit_code == 4


def test_all_failed_exits_5(scans: Path, tmp_path: Path) -> None:
    done = run("upscale", scans, "-o", tmp_path / "out", "-m", "cubic", "--scale", "z=2")
    assert done.exit_code == 5
    assert done.stderr.count("FAIL") == 2


def test_file_in_the_place_of_the_folder_exits_2(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    done = cubic(scans, tmp_path / "out")
    assert done.exit_code == 2
    assert "out is a file, not a folder; choose another folder" in done.stderr


def test_full_disk_exits_6_before_any_work(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6, 0))
    done = cubic(scans, tmp_path / "out")
    assert done.exit_code == 6
    assert "free some space" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scale", "two"], "which is not a number"),
        (["--scale", "z=2,3"], "names a dim for some numbers only"),
        (["--tile", "big"], "must be whole numbers"),
        (["--format", "png"], "unknown format 'png'"),
        (["--name", "{sten}"], "unknown field {sten}"),
        (["--if-exists", "ask"], "unknown choice 'ask'"),
        (["-m", "no-such-model"], "no model 'no-such-model'"),
        (["--no-such-option"], "No such option"),
        (["--cluster", "local"], "unknown cluster 'local'"),
    ],
)
def test_usage_error_exits_2(more: Sequence[str], message: str, scans: Path, tmp_path: Path) -> None:
    done = cubic(scans, tmp_path / "out", *more)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_names_that_collide_exit_2(scans: Path, tmp_path: Path) -> None:
    raster(tmp_path / "other" / "a.tif")
    both = [scans / "a.tif", tmp_path / "other" / "a.tif"]
    done = run("upscale", *both, "-o", tmp_path / "out", "-m", "cubic", "--scale", 2)
    assert (done.exit_code, "would both be written to" in done.stderr) == (2, True)


def test_existing_output_exits_2_and_stays(scans: Path, tmp_path: Path) -> None:
    cubic(scans, tmp_path / "out")
    before = (tmp_path / "out" / "a.tif").read_bytes()
    done = run("upscale", scans, "-o", tmp_path / "out", "-m", "nearest", "--scale", 2)
    assert (done.exit_code, "2 of 2 outputs exist" in done.stderr) == (2, True)
    assert (tmp_path / "out" / "a.tif").read_bytes() == before


def test_scan_that_no_bundled_model_fits_fails_alone(scans: Path, tmp_path: Path) -> None:
    done = run("upscale", scans, "-o", tmp_path / "out", "--scale", 17)
    assert done.exit_code == 5
    assert done.stderr.count("model='cubic'") == 2


def test_dry_run_writes_nothing(scans: Path, tmp_path: Path) -> None:
    done = cubic(scans, tmp_path / "out", "--dry-run")
    assert done.exit_code == 0
    assert "2x9x12 -> 2x18x24" in done.stdout
    assert "y, x 10 -> 5" in done.stdout
    assert not (tmp_path / "out").exists()


def test_dry_run_as_json_names_outputs_and_sizes(scans: Path, tmp_path: Path) -> None:
    told = json.loads(cubic(scans, tmp_path / "out", "--dry-run", "--json").stdout)
    assert {scan["action"] for scan in told} == {"run"}
    assert all(scan["output"].startswith(str(tmp_path / "out")) for scan in told)
    assert all(scan["bytes"] >= 2 * 18 * 24 for scan in told)


def test_json_goes_to_stdout_and_lines_to_stderr(mixed: Path, tmp_path: Path) -> None:
    done = cubic(mixed, tmp_path / "out", "--json")
    told = json.loads(done.stdout)
    assert [scan["status"] for scan in told["scans"]] == ["done", "failed", "done"]
    assert "FAIL" in done.stderr


def test_report_holds_what_became_of_every_scan(mixed: Path, tmp_path: Path) -> None:
    cubic(mixed, tmp_path / "out", "--report", tmp_path / "run.json")
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["exit_code"] == 3
    assert told["scans"][0]["facts"]["fine_shape"] == [2, 18, 24]
    assert "is cut short" in told["scans"][1]["cause"]


def test_quiet_prints_failures_only(mixed: Path, tmp_path: Path) -> None:
    done = cubic(mixed, tmp_path / "out", "-q")
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("FAIL")


def test_traceback_comes_with_verbose_only(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sr_imaging.batch import one_scan as batch_scan

    def odd(*args: object, **kwargs: object) -> None:
        raise RuntimeError("something odd")

    monkeypatch.setattr(batch_scan, "super_resolve", odd)
    assert "Traceback" not in cubic(scans, tmp_path / "out").stderr
    assert "Traceback" in cubic(scans, tmp_path / "out", "-v").stderr


def test_unknown_cluster_is_a_usage_error(scans: Path, tmp_path: Path) -> None:
    done = cubic(scans, tmp_path / "out", "--cluster", "two")
    assert done.exit_code == 2
    assert "unknown cluster 'two'; give local:2 or an address like tcp://10.0.0.5:8786" in done.stderr
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_one_file_may_be_named(scans: Path, tmp_path: Path) -> None:
    done = cubic(scans / "a.tif", tmp_path / "fine.zarr")
    assert done.exit_code == 0, done.output
    assert sr_imaging.read(tmp_path / "fine.zarr").shape == (2, 18, 24)


@pytest.mark.parametrize(
    ("more", "shape"),
    [
        (["--scale", "y=3,x=2"], (2, 27, 24)),
        (["--scale", "3,2"], (2, 27, 24)),
        (["--spacing", "5"], (2, 18, 24)),
        (["--spacing", "x=2.5"], (2, 9, 48)),
        (["--scale", "2", "--tile", "4,5"], (2, 18, 24)),
        (
            ["--scale", "2", "--max-memory", "64 MiB", "--device", "cpu", "--precision", "float32"],
            (2, 18, 24),
        ),
    ],
)
def test_grid_is_the_asked_one(more: list[str], shape: tuple[int, ...], scans: Path, tmp_path: Path) -> None:
    done = run("upscale", scans / "a.tif", "-o", tmp_path / "fine.tif", "-m", "cubic", *more)
    assert done.exit_code == 0, done.output
    assert sr_imaging.read(tmp_path / "fine.tif").shape == shape


def test_no_colour_codes_outside_a_terminal(mixed: Path, tmp_path: Path) -> None:
    assert "\x1b[" not in cubic(mixed, tmp_path / "out").output


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # bytes: larger files cannot be written
from sr_imaging.cli.__main__ import main
main()
"""


@pytest.mark.slow
def test_disk_that_fills_up_meanwhile_leaves_nothing_behind(scans: Path, tmp_path: Path) -> None:
    raster(scans / "large.tif", side=300)
    command = [sys.executable, "-c", LIMITED, "upscale", str(scans), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "-m", "cubic", "--scale", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "FAIL" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.tif")) == ["a.tif", "b.tif"]


def test_internal_error_exits_1(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sr_imaging.batch.plan.plan_batch", broken)
    assert cubic(scans, tmp_path / "out").exit_code == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_exits_130_cleans_up_and_reports(number: int, scans: Path, tmp_path: Path) -> None:
    slow = raster(scans / "c.tif", side=2500)
    out = tmp_path / "out"
    more = ["-m", "cubic", "--scale", 4, "--tile", 16, "--report", tmp_path / "run.json"]
    started = program("upscale", scans, "-o", out, *more)
    wait_for(lambda: any(path.name.endswith(f"-part-{slow.name}") for path in hidden(out)))
    started.send_signal(number)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert [path.name for path in hidden(out)] == [".sr_imaging-done.jsonl"]
    told = json.loads((tmp_path / "run.json").read_text())
    assert [scan["status"] for scan in told["scans"]] == ["done", "interrupted", "not started"]


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def wait_for(happened: Any, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_help_answers_at_once() -> None:
    bare, times = [], []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        middle = time.perf_counter()
        program("--help").communicate()
        bare.append(middle - began)
        times.append(time.perf_counter() - middle)
    assert min(times) < max(HELP_SECONDS, HELP_STARTS * min(bare))  # the latter on a busy machine


@pytest.mark.parametrize("command", ["upscale", "train", "evaluate", "inspect", "models", "demo"])
def test_help_loads_nothing_heavy(command: str) -> None:
    heavy = ["torch", "monai", "xarray", "numpy", "rasterio", "pydicom", "dask", "matplotlib"]
    code = (
        "import sys\nfrom sr_imaging.cli.__main__ import app\n"
        f"try:\n    app(['{command}', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stderr.strip(), "Usage" in done.stdout) == ("[]", True)


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"sr-imaging {sr_imaging.__version__}\n"


def test_inspect_shows_every_scan_with_its_verdict(mixed: Path) -> None:
    done = run("inspect", mixed)
    assert done.exit_code == 3
    assert "2x11x14" in done.stdout
    assert "10x10" in done.stdout
    assert "refused: is cut short" in done.stdout


def test_inspect_shows_a_custom_reference_system_by_its_name(shared_data: Path) -> None:
    shown = run("inspect", shared_data / "odd/geotiff_variants/image_missing_nodata.tif").output
    assert "Albers (custom)" in shown
    assert "PROJCS" not in shown


def test_inspect_of_a_raster_loads_neither_pydicom_nor_torch(tmp_path: Path) -> None:
    code = "from sr_imaging.cli.__main__ import main; main()"
    command = [sys.executable, "-X", "importtime", "-c", code, "inspect", str(raster(tmp_path / "a.tif"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert (done.returncode, "rasterio" in loaded, loaded & {"pydicom", "torch"}) == (0, True, set())


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    raster(tmp_path / "in" / "[red] :x: ünï.tif")
    assert "[red] :x: ünï.tif" in run("inspect", tmp_path / "in").output
    assert "[red] :x: ünï.tif" in cubic(tmp_path / "in", tmp_path / "out", "--dry-run").output
    assert "[red] :x: ünï.tif" in cubic(tmp_path / "in", tmp_path / "out").output


@pytest.mark.slow
def test_name_that_is_no_text_stays_with_its_failure(scans: Path) -> None:
    os.rename(scans / "a.tif", os.fsencode(scans) + b"/a\xff.tif")
    process = program("inspect", scans)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "a\\xff.tif has a name that is not in UTF-8; rename it" in shown
    assert "b.tif" in shown


def test_name_that_is_too_long_is_one_line(scans: Path, tmp_path: Path) -> None:
    done = cubic(scans / "a.tif", tmp_path / ("a" * 300 + ".tif"))
    assert done.exit_code == 5
    assert "File name too long; choose a shorter name" in done.output


def test_inspect_gives_data_as_json(scans: Path) -> None:
    done = run("inspect", scans, "--json")
    assert done.exit_code == 0
    first, second = json.loads(done.stdout)
    assert (first["shape"], second["spacing"]) == ([2, 9, 12], [10.0, 10.0])


def test_inspect_shows_no_patient(shared_data: Path) -> None:
    import pydicom

    folder = shared_data / "medical" / "dcm_mr_pd_ge_axial_oblique"
    header = pydicom.dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True)
    done = run("inspect", folder, "--json")
    assert done.exit_code == 0
    for name in ("PatientName", "PatientID", "PatientBirthDate"):
        value = str(header.get(name, ""))
        assert not value or value not in done.stdout.replace(str(folder), "")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file of scale 2 that has learned nothing: it equals cubic interpolation."""
    from sr_imaging.models.card import ModelCard
    from sr_imaging.networks import build_generator

    arguments = {"scale": [2, 2], "channels": 4, "blocks": 1}
    generator = build_generator("srresnet", arguments)
    card = ModelCard.of(generator, name="small-x2", architecture="srresnet", arguments=arguments)
    return sr_imaging.save_model(generator, tmp_path / "small-x2.safetensors", card)


def test_models_list_names_the_bundled_ones() -> None:
    done = run("models", "list", "--json")
    assert done.exit_code == 0
    assert [card["name"] for card in json.loads(done.stdout)] == [c.name for c in sr_imaging.list_models()]


def test_models_list_says_what_each_refines() -> None:
    done = run("models", "list")
    assert done.exit_code == 0
    assert all(card.name in done.stdout for card in sr_imaging.list_models())
    assert "y, x by 2" in done.stdout


def test_models_info_shows_the_card(model: Path) -> None:
    done = run("models", "info", model)
    assert done.exit_code == 0
    assert "small-x2" in done.stdout
    assert "srresnet" in done.stdout


def test_models_export_copies_weights_and_card(model: Path, tmp_path: Path) -> None:
    done = run("models", "export", model, "-o", tmp_path / "copy.safetensors")
    assert done.exit_code == 0
    assert (tmp_path / "copy.safetensors").read_bytes() == model.read_bytes()


def test_models_export_refuses_another_suffix(model: Path, tmp_path: Path) -> None:
    done = run("models", "export", model, "-o", tmp_path / "copy.pt")
    assert done.exit_code == 2
    assert "does not end in .safetensors" in done.stderr


def test_evaluate_prints_a_table_beside_cubic(model: Path, tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif", side=64)
    done = run("evaluate", model, tmp_path / "scene.tif", "--json", tmp_path / "figures.json")
    assert done.exit_code == 0, done.output
    assert "PSNR" in done.stdout
    (row,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert row["gain"] == pytest.approx(0, abs=1e-3)  # dB; the model has learned nothing


def test_evaluate_gives_data_on_stdout(model: Path, tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif", side=64)
    done = run("evaluate", "cubic", tmp_path / "scene.tif", "--scale", 2, "--json", "-")
    assert json.loads(done.stdout)["model"] == "cubic"


def test_evaluate_degrades_as_a_training_file_says(model: Path, tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif", side=64)
    options = ("--psf", "slr", "--thickness", 0.8, "--noise", "gaussian", "--noise-sigma", 0.5, "--json", "-")
    done = [run("evaluate", model, tmp_path / "scene.tif", *more) for more in (options, ("--json", "-"))]
    noisy, usual = (json.loads(each.stdout) for each in done)
    assert noisy["mean"]["psnr"] < usual["mean"]["psnr"] - 0.3  # dB
    assert noisy["degradation"] != usual["degradation"]


def test_evaluate_draws_a_picture(model: Path, tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif", side=120)
    done = run("evaluate", model, tmp_path / "scene.tif", "--figure", tmp_path / "scene.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "scene.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_draws_an_interpolation(tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif", side=40)
    picture = tmp_path / "scene.png"
    done = run("evaluate", "linear", tmp_path / "scene.tif", "--scale", "2", "--figure", picture)
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def settings(folder: Path, *, steps: int) -> Path:
    """A training run of a few pixels."""
    raster(folder / "scene.tif", side=96)
    path = folder / "run.toml"
    path.write_text(
        f'name = "tiny"\noutput = "{folder / "runs"}"\n[data]\ntrain = ["scene.tif"]\nheld_out = 0\n'
        'patch = 12\nbatch = 2\n[model]\narchitecture = "srresnet"\n'
        "arguments = { scale = [2, 2], channels = 4, blocks = 1 }\n"
        f"[pixel]\nsteps = {steps}\nschedule = {{ warmup = 0 }}\n"
    )
    return path


def test_train_writes_a_model_that_upscales(tmp_path: Path) -> None:
    config = settings(tmp_path, steps=2)
    done = run("train", config, "--data-root", tmp_path, "--device", "cpu", "-q")
    assert done.exit_code == 0, done.output
    path = Path(done.stdout.strip())
    assert path.name == "tiny.safetensors"
    assert run("upscale", tmp_path / "scene.tif", "-o", tmp_path / "fine.tif", "-m", path).exit_code == 0


def test_train_replaces_an_earlier_run_only_with_overwrite(tmp_path: Path) -> None:
    command = ("train", settings(tmp_path, steps=1), "--data-root", tmp_path, "--device", "cpu", "-q")
    assert run(*command).exit_code == 0
    model = tmp_path / "runs" / "tiny.safetensors"
    before = model.stat().st_mtime_ns
    refused = run(*command)
    assert (refused.exit_code, model.stat().st_mtime_ns) == (2, before)
    assert "exists from an earlier run; pass resume=True" in refused.stderr
    assert run(*command, "--overwrite").exit_code == 0
    assert model.stat().st_mtime_ns > before


@pytest.mark.parametrize("more", [[], ["-v"]])
def test_train_tells_lines_on_stderr_where_no_terminal_is(more: list[str], tmp_path: Path) -> None:
    config = settings(tmp_path, steps=20)
    done = run("train", config, "--data-root", tmp_path, "--device", "cpu", *more)
    assert done.stdout.strip() == str(tmp_path / "runs" / "tiny.safetensors")
    lines = [line for line in done.stderr.splitlines() if line.startswith(("note: training", "note: step"))]
    assert lines[0] == "note: training tiny: srresnet, 20 pixel steps, 1 scan"
    assert [line.split()[2] for line in lines[1:]] == [f"{step}/20" for step in range(2, 21, 2)]
    assert all("  pixel  loss " in line and line.endswith(" left") for line in lines[1:])


def test_train_is_silent_on_stderr_with_quiet(tmp_path: Path) -> None:
    done = run("train", settings(tmp_path, steps=2), "--data-root", tmp_path, "--device", "cpu", "-q")
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.slow
def test_train_keeps_a_checkpoint_when_interrupted(tmp_path: Path) -> None:
    config = settings(tmp_path, steps=10**6)
    started = program("train", config, "--data-root", tmp_path, "--device", "cpu")
    log = tmp_path / "runs" / "tiny.csv"
    wait_for(lambda: log.is_file() and len(log.read_text().splitlines()) > 1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert "go on with --resume" in err
    assert (tmp_path / "runs" / "tiny.checkpoint.safetensors").is_file()


def test_train_refuses_a_setting_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('name = "tiny"\n[data]\npacth = 12\n')
    done = run("train", tmp_path / "run.toml")
    assert done.exit_code == 2
    assert "patch" in done.stderr


MODELS = [("cubic", ["--scale"]), ("auto", [])]


def need(model: str, bundled: str) -> None:
    """Skip where the model that 'auto' takes is not bundled."""
    if model == "auto" and bundled not in {card.name for card in sr_imaging.list_models()}:
        pytest.skip(f"needs the bundled model {bundled}")


def corners(image: Any) -> np.ndarray:
    """Outer corners of a SimpleITK image in mm, sorted."""
    size = image.GetSize()
    ends = [(-0.5, n - 0.5) for n in size]
    places = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    found = np.array([image.TransformContinuousIndexToPhysicalPoint(list(map(float, p))) for p in places])
    return found[np.lexsort(found.round(2).T)]


def with_simple_itk(files: Sequence[Path]) -> Any:
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK as an independent reader")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sorted(map(str, files)))
    return reader.Execute()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "scale"), MODELS)
def test_dicom_result_opens_at_the_same_place(
    model: str, scale: list[str], shared_data: Path, tmp_path: Path
) -> None:
    need(model, "mr-through-x4")
    name = "dcm_mr_pd_ge_axial_oblique"
    source = sorted((shared_data / "medical" / name).glob("*.dcm"))[:5]  # by place; five of twenty are quick
    more = [*scale, "z=4"] if scale else []
    done = run("upscale", *source, "-o", tmp_path / "out", "-m", model, *more)
    assert done.exit_code == 0, done.output
    before, after = with_simple_itk(source), with_simple_itk([*(tmp_path / "out" / name).iterdir()])
    assert after.GetSize()[2] == 4 * before.GetSize()[2]
    np.testing.assert_allclose(corners(after), corners(before), atol=1e-3)  # mm


@pytest.mark.parametrize(("model", "scale"), MODELS)
def test_raster_result_covers_the_same_ground(
    model: str, scale: list[str], shared_data: Path, tmp_path: Path
) -> None:
    import rasterio

    need(model, "raster-x2")
    source = shared_data / "satellite" / "sentinel2_fields_10m" / "sentinel2_fields.tif"
    more = [*scale, "2"] if scale else []
    done = run("upscale", source, "-o", tmp_path / "fine.tif", "-m", model, *more)
    assert done.exit_code == 0, done.output
    with rasterio.open(source) as before, rasterio.open(tmp_path / "fine.tif") as after:
        assert (after.width, after.height) == (2 * before.width, 2 * before.height)
        assert (after.crs, after.count, after.dtypes) == (before.crs, before.count, before.dtypes)
        np.testing.assert_allclose(after.bounds, before.bounds, atol=1e-6 * before.res[0])


def test_environment_of_the_caller_is_left_alone(scans: Path, tmp_path: Path) -> None:
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    cubic(scans, tmp_path / "out")
    assert (dict(os.environ), signal.getsignal(signal.SIGTERM)) == (before, handler)
