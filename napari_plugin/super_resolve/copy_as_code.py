"""A run as text: Python code and a command line that make the same pixels again."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_plugin.layers import pixels, plain_names
from napari_plugin.super_resolve.plan import Plan

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["as_command", "as_python", "source_of"]


def source_of(layer: "Image") -> dict[str, str]:
    """Return ``path`` and, of a DICOM series, ``series`` of a layer that our reader made; else nothing."""
    facts = layer.metadata.get("sr_imaging", {})
    return {key: str(facts[key]) for key in ("path", "series") if facts.get(key)}


def as_python(plan: Plan, layer: "Image") -> str:
    """Return code that repeats a run: from the layer's file, or from the open layer where it has none.

    It ends in a variable ``sr``, written to a file where the source is one.
    """
    source = source_of(layer)
    lines = ["import sr_imaging", ""]
    if source:
        series = f", series={source['series']!r}" if "series" in source else ""
        lines.append(f"da = sr_imaging.read({source['path']!r}{series})")
    else:
        lines = ["import napari", "import sr_imaging", "import xarray as xr", ""]
        lines.append(f"layer = napari.current_viewer().layers[{layer.name!r}]")
        lines.append(f"da = {_code_of_array(plan, layer)}")
    if names := _names_to_change(plan, layer):
        lines.append(f"da = da.rename({names!r})")
    if plan.settings.is_lazy:
        lines.append("da = da.chunk('auto')")
    arguments = {"model": plan.settings.model, **plan.settings.arguments(plan.image)}
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    lines.append(f"sr = sr_imaging.upscale(da, {given.removeprefix('model=')})")
    if source:
        lines.append(f"sr_imaging.write(sr, {_name_output(source, plan)!r}{_code_of_source(source)})")
    return "\n".join(lines) + "\n"


def as_command(plan: Plan, layer: "Image") -> str:
    """Return the command line that repeats a run, one line for a POSIX shell.

    It is empty for a layer that no file of ours holds alone, or whose dims or laziness the command line does
    not know.
    """
    source = source_of(layer)
    is_one_of_several = "is_one_of_several" in layer.metadata.get("sr_imaging", {})
    if not source or is_one_of_several or _names_to_change(plan, layer) or plan.settings.is_lazy:
        return ""
    words = [
        "sr-imaging",
        "upscale",
        source["path"],
        "-o",
        _name_output(source, plan),
        "-m",
        plan.settings.model,
    ]
    arguments = plan.settings.arguments(plan.image)
    if scale := arguments.pop("scale", None):
        words += ["--scale", ",".join(f"{s:g}" for s in scale.values())]
    for key, value in arguments.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _code_of_array(plan: Plan, layer: "Image") -> str:
    """Return code for the array of an open layer."""
    data = "layer.data[0]" if layer.multiscale else "layer.data"
    if hasattr(pixels(layer), "coords"):
        return data
    dims = [*plain_names(plan.image), *(["channel"] if plan.image.colours else [])]
    return f"xr.DataArray({data}, dims={dims!r})"


def _names_to_change(plan: Plan, layer: "Image") -> dict[Any, str]:
    """Return the dims of an array with coordinates that super-resolution knows under other names."""
    if not source_of(layer) and not hasattr(pixels(layer), "coords"):
        return {}
    pairs = zip(plan.image.dims, plain_names(plan.image), strict=True)
    return {dim: name for dim, name in pairs if dim != name}


def _name_output(source: dict[str, str], plan: Plan) -> str:
    """Return a name for the result: the source's with the model's."""
    path = Path(source["path"])
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix
    if "series" in source:
        suffix = ""
    elif suffix.lower() not in (".tif", ".tiff", ".nii", ".nii.gz"):
        suffix = ".nii.gz" if plan.image.place("z") is not None else ".tif"
    stem = path.name.removesuffix(suffix) if suffix else path.stem
    return f"{stem}_{Path(plan.settings.model).stem}{suffix}"


def _code_of_source(source: dict[str, str]) -> str:
    """Return the argument for the source of patient and study, which a DICOM result needs."""
    return f", source={source['path']!r}" if "series" in source else ""
