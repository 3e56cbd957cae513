"""Every error of the package has one base, stays what Python calls its kind, and is light to import."""

import pickle
import subprocess
import sys

import pytest

import sr_imaging
from sr_imaging import errors

CLASSES = [thing for name in errors.__all__ if isinstance(thing := getattr(errors, name), type)]
BUILTIN = {
    "CancelledError": Exception,
    "ConfigError": ValueError,
    "GridError": ValueError,
    "InputTypeError": TypeError,
    "ModelError": ValueError,
    "ReadError": OSError,
    "ResourceError": RuntimeError,
    "SrImagingError": Exception,
    "WriteError": OSError,
}


@pytest.mark.parametrize("error", CLASSES)
def test_error_is_of_the_base_and_of_its_python_kind(error: type[Exception]) -> None:
    assert issubclass(error, errors.SrImagingError)
    assert issubclass(error, BUILTIN[error.__name__])


@pytest.mark.parametrize("error", CLASSES)
def test_error_keeps_its_one_sentence(error: type[Exception]) -> None:
    text = "x spacing must be even; resample the volume first"
    assert str(error(text)) == text
    copy = pickle.loads(pickle.dumps(error(text)))  # as it travels between processes
    assert type(copy) is error
    assert str(copy) == text


@pytest.mark.parametrize("error", CLASSES)
def test_error_is_public(error: type[Exception]) -> None:
    assert getattr(sr_imaging, error.__name__) is error
    assert error.__name__ in sr_imaging.__all__


@pytest.mark.parametrize("error", CLASSES)
def test_error_says_what_it_means(error: type[Exception]) -> None:
    assert error.__doc__
    assert error.__doc__.strip().endswith(".")


def test_cancelling_is_no_failure_of_another_kind() -> None:
    others = tuple(c for c in CLASSES if c not in (errors.CancelledError, errors.SrImagingError))
    assert not issubclass(errors.CancelledError, others)


def test_errors_load_nothing_heavy() -> None:
    code = "import sys, sr_imaging.errors; print({'numpy', 'torch', 'xarray', 'dask'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
