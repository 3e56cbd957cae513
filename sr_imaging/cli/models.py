"""``sr-imaging models``: list the models, show what one is, copy one, blend two."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sr_imaging.errors import WriteError

from .console import AsJson, print_json, running, table

if TYPE_CHECKING:
    from sr_imaging import ModelCard

__all__ = ["app"]

app = typer.Typer(help="The bundled models and model files.", no_args_is_help=True)
_SHORT = 40  # characters of a list that is shown in one line
Name = Annotated[str, typer.Argument(metavar="NAME", help="A bundled model or a model file.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the bundled models."""
    with running() as (out, _):
        from sr_imaging import list_models

        cards = list_models()
        if as_json:
            print_json([asdict(card) for card in cards])
            return
        rows = table("name", "refines", "trained on spacing", "description")
        for card in cards:
            rows.add_row(card.name, _describe_scale(card), _describe_range(card), card.description)
        out.print(rows)
        classical = "cubic, wiener, back-projection, linear, lanczos, fourier, nearest"
        out.print(f"also, for any axis and factor: {classical}")


@app.command()
def info(name: Name, as_json: AsJson = False) -> None:
    """Show the card of a model."""
    with running() as (out, _):
        from sr_imaging import load_model

        card: Any = load_model(name).card
        if as_json:
            print_json(asdict(card))
            return
        rows = table("", "")
        rows.show_header = False
        for key, value in asdict(card).items():
            if value not in ("", None, (), {}):
                rows.add_row(key.replace("_", " "), _format_value(value))
        out.print(rows)


@app.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .safetensors file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Copy a model, its card inside, to a file of your own."""
    with running() as (out, _):
        from sr_imaging import load_model, save_model

        model: Any = load_model(name)
        save_model(model, _check_suffix(output), model.card, overwrite=overwrite)
        out.print(str(output))


@app.command()
def blend(
    first: Name,
    second: Annotated[str, typer.Argument(metavar="NAME", help="A model of the same architecture.")],
    *,
    alpha: Annotated[float, typer.Option(help="0 is the first model, 1 the second.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .safetensors file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Make a model between two, such as a pixel-trained and a GAN-trained one: fidelity or texture."""
    with running() as (out, _):
        from sr_imaging import blend_models, save_model

        made: Any = blend_models(first, second, alpha)
        save_model(made, _check_suffix(output), made.card, overwrite=overwrite)
        out.print(str(output))


def _check_suffix(output: Path) -> Path:
    """Return the path of a model file; raises WriteError unless it ends in .safetensors."""
    if output.suffix != ".safetensors":
        raise WriteError(f"{output} does not end in .safetensors; give a name that does")
    return output


def _describe_scale(card: "ModelCard") -> str:
    """Return axes and factors, as ``z by 4`` or ``y, x by 1.5 to 4``."""
    axes: dict[tuple[float, float], list[str]] = {}
    for axis, span in zip(card.axes, card.scale_range or [(s, s) for s in card.scale], strict=True):
        if span[1] != 1:
            axes.setdefault(span, []).append(axis)
    return "; ".join(
        f"{', '.join(names)} by {f'{low:g}' if low == high else f'{low:g} to {high:g}'}"
        for (low, high), names in axes.items()
    )


def _describe_range(card: "ModelCard") -> str:
    """Return the spacings of the training scans."""
    if card.spacing_range is None:
        return ""
    low, high = card.spacing_range
    return f"{low:.3g} to {high:.3g} {card.spacing_unit}".rstrip()


def _format_value(value: Any) -> str:
    """Return a value of a card as lines."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_format_value(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        if value and all(isinstance(inner, list | tuple) for inner in value):
            return "; ".join(_format_value(inner) for inner in value)
        short = sum(len(str(inner)) for inner in value) < _SHORT
        return (", " if short else "\n").join(_format_value(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
