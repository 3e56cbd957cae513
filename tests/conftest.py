"""What many tests share: the folder of real scans, the display that napari needs, and no silent skips.

pytest-qt aborts the whole run where Qt's system libraries are missing, and napari's fixtures import napari
into every test. So pyproject.toml turns both plugins off and they are loaded here, where a window can open.
"""

import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from helpers.places import DATA

WINDOW_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "plugin_settings", "qapp", "qtbot"}
WINDOW_PLUGINS = ["pytestqt.plugin", "npe2._pytest_plugin", "napari.utils._testsupport"]
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # the workers share the cores, so each takes one, and what it starts as well
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ALLOWED_SKIPS = re.compile(r"\b(CUDA|GPUs?)\b")  # what a machine without an accelerator cannot run


def _window_opens() -> bool:
    """Try Qt in a process of its own, since it aborts where a display or a library is missing."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    known = os.environ.get("SR_IMAGING_WINDOW_OPENS")  # told to the workers of pytest-xdist
    if known is None:
        probe = "from qtpy.QtWidgets import QApplication; QApplication([])"
        result = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False, timeout=60)
        known = os.environ["SR_IMAGING_WINDOW_OPENS"] = str(int(result.returncode == 0))
    return known == "1"


WINDOW_OPENS = _window_opens()
pytest_plugins = WINDOW_PLUGINS if WINDOW_OPENS else []


def pytest_configure(config: pytest.Config) -> None:
    """Declare pytest-qt's markers where its plugin is not loaded."""
    if not WINDOW_OPENS:
        for name in ("qt_no_exception_capture", "qt_log_level_fail", "qt_log_ignore", "no_qt_log"):
            config.addinivalue_line("markers", f"{name}: of pytest-qt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that open a window, each by name, where none can open."""
    if WINDOW_OPENS:
        return
    skip = pytest.mark.skip(reason="needs Qt and a display; run them under xvfb-run, as make test does")
    for item in items:
        if WINDOW_FIXTURES & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("window"):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test where no skips are allowed."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips itself where no skips are allowed."""
    return _refuse_skip((yield))


def _refuse_skip(report: Any) -> Any:
    """Turn a skip whose reason is not on the list into a failure, if SR_IMAGING_NO_SKIPS is set."""
    if os.environ.get("SR_IMAGING_NO_SKIPS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not ALLOWED_SKIPS.search(reason):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped where every test must run: {reason}"
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans; a test that needs it is skipped by name where it is absent."""
    if not (DATA / "INDEX.md").is_file():
        pytest.skip(f"needs the folder of real scans, not found at {DATA}; set SR_IMAGING_DATA")
    return DATA
