"""The files that GitHub reads fit their schemas, and the workflow runs what the gate runs."""

from pathlib import Path

import pytest
from check_jsonschema import main
from click.testing import CliRunner, Result
from helpers.places import ROOT

SCHEMAS = {
    ".github/workflows/*.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "CITATION.cff": "vendor.citation-file-format",
}


def check(schema: str, path: Path) -> Result:
    return CliRunner().invoke(main, ["--builtin-schema", schema, str(path)])


@pytest.mark.parametrize(("pattern", "schema"), SCHEMAS.items())
def test_file_fits_its_schema(pattern: str, schema: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths
    for path in paths:
        done = check(schema, path)
        assert done.exit_code == 0, done.output


def test_schema_finds_a_misspelt_key(tmp_path: Path) -> None:
    text = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    (tmp_path / "tests.yml").write_text(text.replace("runs-on", "run-on"), encoding="utf-8")
    assert check("vendor.github-workflows", tmp_path / "tests.yml").exit_code != 0


@pytest.mark.parametrize("target", ["setup", "lint", "test"])
def test_workflow_takes_the_steps_of_the_gate(target: str) -> None:
    for name in (".ci/run", ".github/workflows/tests.yml"):
        assert f"make {target}" in (ROOT / name).read_text(encoding="utf-8").replace(
            "make --no-print-directory --silent", "make"
        )
