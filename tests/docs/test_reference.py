"""The reference pages, which are made from the code: nothing is left out, and everything is described."""

import importlib
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from mbt_assets.cli.main import app
from partitions.study import Study
from resources.tables import LAKE_TABLES, TABLES

GENERATORS = Path(__file__).parents[2] / "docs" / "generate"


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    sys.path.insert(0, str(GENERATORS))
    yield
    sys.path.remove(str(GENERATORS))


@pytest.fixture
def reference():
    """A module that makes a page: `reference("study")`."""
    return lambda name: importlib.import_module(f"{name}_reference")


def test_every_field_of_a_study_says_what_it_is(reference):
    lacking = reference("study").undescribed()
    assert not lacking, f"add to `Attributes:` of the docstrings in partitions/: {lacking}"


def test_the_study_page_has_every_model_with_its_fields_bounds_and_defaults(reference):
    page = reference("study").page()
    for name, field in Study.model_fields.items():
        assert f"| `{name}` |" in page, field
    for model in ("VllmServer", "RemoteServer", "HubSource", "Training", "Limits", "Compute", "Split"):
        assert f"\n## {model}\n" in page
    assert "| `max_failure_rate` | number, ≥ 0, ≤ 1 | `0.01` | share of failed requests" in page
    assert "| `datasets` | mapping to [Dataset](#dataset), at least 1 | **required** |" in page
    assert '| `adapter` | `merge`, `serve` | `"merge"` |' in page


def test_every_column_says_what_it_holds(reference):
    lacking = reference("table").undescribed()
    assert not lacking, f"describe them in the schema or in the header of the SQL file: {lacking}"


def test_the_table_page_has_every_table_of_the_lake_and_of_the_warehouse(reference):
    page = reference("table").page()
    names = {*LAKE_TABLES, *reference("table").study_tables(), "lineage", "training_lineage", "partition_lineage"}
    assert {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")} == names
    for column in TABLES["validation_rollouts"].columns():
        assert f"| `{column}` | " in page
    assert "**Key**: `question_id`, `rollout_id`, `judge`. **Partitions**: dataset × variant." in page
    assert "| `exact_match` | `DOUBLE` |" in page


def test_the_command_page_has_every_command_with_every_option(reference):
    page = reference("command").page()
    for name, command in reference("command").all_commands(get_command(app)):
        assert f"`{name}`\n" in page
        for option in command.get_params(typer.Context(command)):
            assert option.hidden if hasattr(option, "hidden") and option.hidden else f"{option.opts[0]}" in page
    assert "..." not in page.replace("ARGS]...", "").replace("FILE...", "")


def test_text_that_is_no_markdown_cannot_break_a_page(reference):
    prose = importlib.import_module("markdown_text").prose
    assert prose("model__mode <script> `a_b` [x]") == r"model\_\_mode &lt;script> `a_b` \[x\]"
    assert importlib.import_module("markdown_text").cell("a | b\nc") == r"a \| b c"
