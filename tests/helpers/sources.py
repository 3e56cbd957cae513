"""The source files of the project, parsed: what each of them imports and calls."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from helpers.places import ROOT

SOURCES = sorted(path for top in ("sr_imaging", "napari_plugin") for path in (ROOT / top).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[tuple[str, str]]:
    """Pairs of module and name, absolute; the name is empty for a plain ``import module``."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {(module, alias.name) for alias in node.names}
    return frozenset(found)


def libraries(path: Path) -> set[str]:
    return {module.split(".")[0] for module, _ in imports(path)} - {"sr_imaging", "napari_plugin"}


def own_modules(path: Path) -> set[str]:
    """Modules of this project that a file imports, ``from .package import module`` included."""
    modules = {module_name(source) for source in SOURCES}
    found = set()
    for module, name in imports(path):
        whole = f"{module}.{name}"
        if whole in modules:
            found.add(whole)
        elif module in modules:
            found.add(module)
    return found


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)
