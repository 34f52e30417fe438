"""The recipes of docs/adding-a-*.md, followed to the letter in a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("mbt_assets", "partitions", "resources", "jobs", "sql", "tests/sql", "tests/support")
FILES = ("pyproject.toml", "tests/conftest.py")

SHOWN = """
import polars as pl
from mbt_assets.definitions import build_platform
from mbt_assets.tables.figures import DRAWINGS, data_of, drawn
from mbt_assets.tables.frames import Marts
from partitions.study_file import load_study
from resources.home import Home
from resources.tables import LAKE_TABLES

study = load_study("embedded")
graph = build_platform(study, Home(__import__("pathlib").Path("home"), "x")).definitions().resolve_asset_graph()
key = next(key for key in graph.get_all_asset_keys() if key.to_user_string() == "lost")
assert {"answer_hits", "answer_scores"} <= {parent.to_user_string() for parent in graph.get(key).parent_keys}
assert "lost" in LAKE_TABLES
row = {"dataset": "trails", "variant": "tiny__base", "model": "tiny", "mode": "base", "n_reached": 4, "n_lost": 1}
data = data_of(DRAWINGS["lost"], Marts({"lost": pl.DataFrame([row | {"lost_rate": 0.25}])}), study)
assert drawn(DRAWINGS["lost"], data, study, ["svg"])["svg"].startswith(b"<?xml")
"""


class Copy:
    """A copy of the source in which the commands of a page are run."""

    def __init__(self, root):
        self.root = root
        for part in PARTS:
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in FILES:
            shutil.copy2(ROOT / file, root / file)

    def run(self, *command, text=None, environment=None):
        """What a command prints; it has to end well."""
        bin_folder = Path(sys.executable).parent
        path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.root)} | (environment or {})
        done = subprocess.run(
            command, cwd=self.root, input=text, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, page, *languages):
        """Write the blocks that follow "Write `path`" or "in `path`:" on a page."""
        for path, language, text in re.findall(r"(?:Write|in) `([\w/.]+)`:\n\n```(\w+)\n(.*?)```", page, re.DOTALL):
            assert language in languages
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_a_benchmark_is_added_as_the_page_says(copy):
    page = (ROOT / "docs" / "adding-a-benchmark.md").read_text()
    copy.write(page, "python")
    _, rows = blocks(page, "python")
    copy.run(sys.executable, "-c", rows)
    look, check = blocks(page, "sh")
    (printed,) = blocks(page, "text")
    assert copy.run("bash", "-ec", look) == printed
    (study,) = blocks(page, "yaml")
    (copy.root / "my-study.yaml").write_text(study)
    validate = check.splitlines()[0].removeprefix("mbt ")
    told = copy.run(sys.executable, "-m", "mbt_assets.cli.main", *validate.split())
    assert "my-study" in told


def test_a_metric_is_added_as_the_page_says(copy):
    page = (ROOT / "docs" / "adding-a-metric.md").read_text()
    copy.write(page, "sql", "python")
    (changes,) = blocks(page, "diff")
    copy.run("git", "apply", "-", text=changes, environment={"GIT_CEILING_DIRECTORIES": str(copy.root.parent)})
    (command,) = blocks(page, "sh")
    assert "passed" in copy.run("bash", "-ec", command)
    copy.run(sys.executable, "-c", SHOWN)


def test_what_the_metric_s_page_adds_is_written_as_the_house_writes(copy):
    page = (ROOT / "docs" / "adding-a-metric.md").read_text()
    copy.write(page, "sql", "python")
    copy.run(sys.executable, "-m", "ruff", "check", "mbt_assets/tables/lost.py")
    copy.run(sys.executable, "-m", "sqlfluff", "lint", "sql/marts/lost.sql")
