"""The promise of the package: its public names, their signatures, and docstrings that say what they raise."""

import inspect
import re
from typing import Any

import pytest

import sr_imaging

MISSING = inspect.Parameter.empty
# Positional parameters in order, then keyword-only ones, with the promised default.
PROMISED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "aligned_pair": ({"fine": MISSING, "coarse": MISSING}, {}),
    "blend_models": ({"first": MISSING, "second": MISSING, "alpha": MISSING}, {}),
    "degrade": ({"da": MISSING, "scale": MISSING}, {"psf": ..., "noise": ..., "seed": 0}),
    "evaluate": (
        {"model": MISSING, "scans": MISSING},
        {
            "scale": None,
            "degradation": None,
            "guides": None,
            "discriminator": None,
            "figure": None,
            "seed": 0,
            "device": "auto",
        },
    ),
    "find_scans": ({"path": MISSING}, {}),
    "list_models": ({}, {}),
    "load_model": ({"name_or_path": MISSING}, {}),
    "model_fit": ({"card": MISSING, "da": MISSING}, {}),
    "read": ({"path_or_scan": MISSING}, {"series": None, "masked": False}),
    "save_model": ({}, {}),
    "self_config": ({"scan": MISSING}, {}),
    "train": ({"config": MISSING}, {}),
    "upscale": (
        {"obj": MISSING, "model": "auto"},
        {
            "scale": None,
            "spacing": None,
            "device": "auto",
            "precision": "auto",
            "tile": None,
            "max_memory": None,
            "dtype": None,
            "strict": False,
            "seed": 0,
            "progress": None,
        },
    ),
    "write": ({"da": MISSING, "path": MISSING}, {"source": None, "format": None, "overwrite": False}),
}
FUNCTIONS = sorted(PROMISED)


def test_all_lists_the_public_names() -> None:
    assert sr_imaging.__all__ == sorted(sr_imaging.__all__)
    assert dir(sr_imaging) == sr_imaging.__all__
    assert {name for name in sr_imaging.__all__ if inspect.isfunction(getattr(sr_imaging, name))} == set(
        FUNCTIONS
    )


@pytest.mark.parametrize("name", sr_imaging.__all__)
def test_public_name_resolves_to_what_carries_that_name(name: str) -> None:
    value = getattr(sr_imaging, name)
    assert value.__name__ == name
    assert value.__module__.startswith("sr_imaging.")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'upscael'"):
        sr_imaging.upscael  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_is_the_promised_one(name: str) -> None:
    positional, keywords = PROMISED[name]
    found = inspect.signature(getattr(sr_imaging, name)).parameters
    subjects = {key: p.default for key, p in found.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    options = {key: p.default for key, p in found.items() if p.kind is p.KEYWORD_ONLY}
    if positional:
        assert subjects == positional
    for key, default in keywords.items():
        assert key in options
        assert default is ... or options[key] == default


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_takes_no_loose_arguments(name: str) -> None:
    kinds = {p.kind for p in inspect.signature(getattr(sr_imaging, name)).parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_tells_parameters_returns_and_raises(name: str) -> None:
    function = getattr(sr_imaging, name)
    text = inspect.getdoc(function) or ""
    sections = set(re.findall(r"^(\w[\w ]*)\n-{3,}$", text, re.MULTILINE))
    parameters = inspect.signature(function).parameters
    assert sections >= {"Returns", "Raises"} | ({"Parameters"} if parameters else set())
    documented = {
        name for line in re.findall(r"^(\w[\w, ]*) :", text, re.MULTILINE) for name in line.split(", ")
    }
    assert set(parameters) <= documented


@pytest.mark.parametrize("name", [name for name in sr_imaging.__all__ if name.endswith("Error")])
def test_error_is_caught_as_the_base(name: str) -> None:
    assert issubclass(getattr(sr_imaging, name), sr_imaging.SrImagingError)
