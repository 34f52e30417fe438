"""`mbt tables` as a user meets it: real processes over a warehouse that a real run made."""

import io
import os
import shutil
import subprocess
import sys

import polars as pl
import pytest
import yaml
from PIL import Image

from partitions.grid import Node
from resources.lake import Lake

ALL = [f"{table}.{ending}" for table in ("main", "aes", "rrp", "mqi") for ending in ("md", "tex", "csv")]
# Of the teacher's base variant there is no AES to draw.
FIGURES = ["accuracy_tokens", "response_tokens", "rrp_plane", "mqi_phases"]
BLOCKER = """
import sys
sys.modules["matplotlib"] = None
sys.argv = ["mbt", *sys.argv[1:]]
from mbt_assets.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def small(made, small_study, tmp_path_factory):
    """What runs `mbt tables` over the small study, whose teacher cells are made."""
    platform, _ = made
    file = tmp_path_factory.mktemp("study") / "small.yaml"
    file.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))

    def run(*arguments, home=platform.home.root, start=("-m", "mbt_assets.cli.main")):
        env = {**os.environ, "MBT_HOME": str(home), "MBT_STUDY": str(file)}
        command = [sys.executable, *start, "tables", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=200)

    return run


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(result, *words):
    """The command ended as a user's mistake does: exit status 2, a clear message, no stack trace."""
    message = " ".join(result.stderr.replace("│", " ").split())
    assert result.returncode == 2, message
    assert "Traceback" not in message
    for word in words:
        assert word in message, message


def test_all_tables_and_figures_are_written(small, tmp_path):
    result = small("--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    names = [*ALL, *(f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")), "figures.md"]
    assert written(tmp_path) == sorted(names)
    assert sorted(result.stdout.split()) == sorted(str(tmp_path / name) for name in names)
    assert "| rule-teacher | base | 100.0 ± 0.0 |" in (tmp_path / "main.md").read_text()
    frame = pl.read_csv(tmp_path / "main.csv").filter(pl.col("exact_match").is_not_null())
    assert frame.select("dataset", "variant", "exact_match", "n_questions").rows() == [
        ("trails", "rule-teacher__base", 1.0, 12),
        ("wide", "rule-teacher__base", 1.0, 8),
    ]
    assert Image.open(io.BytesIO((tmp_path / "rrp_plane.png").read_bytes())).format == "PNG"
    assert "![Reach-Redundancy plane](rrp_plane.svg)" in (tmp_path / "figures.md").read_text()


def test_a_choice_of_tables_formats_and_datasets(small, tmp_path):
    result = small("-o", str(tmp_path), "--only", "mqi,main", "--format", "md", "--dataset", "wide", "--figures", "png")
    assert result.returncode == 0, result.stderr
    pictures = ["accuracy_tokens.png", "response_tokens.png", "mqi_phases.png"]
    assert written(tmp_path) == sorted(["main.md", "mqi.md", *pictures, "figures.md"])
    text = (tmp_path / "main.md").read_text()
    assert "| model | mode | wide EM | wide F1 | wide Judge | wide Tokens |" in text
    assert "trails" not in text


def test_files_of_an_earlier_run_are_replaced_as_a_whole(small, tmp_path):
    before = tmp_path / "aes.csv"
    before.write_text("old")
    with before.open() as reader:
        result = small("-o", str(tmp_path), "--only", "aes", "--no-figures", "--interval", "ends")
        assert result.returncode == 0, result.stderr
        assert reader.read() == "old", "who reads the old file goes on reading it"
    assert before.read_text().startswith("dataset,model,mode,variant,")
    assert written(tmp_path) == ["aes.csv", "aes.md", "aes.tex"]


def test_outdated_numbers_are_told_on_the_screen_and_below_each_table(small, made, tmp_path):
    platform, _ = made
    shutil.copytree(platform.home.root, tmp_path / "home")
    lake = Lake(tmp_path / "home" / "small" / "lake")
    node = Node("validation_rollouts", "wide|rule-teacher__base")
    lake.write(node, lake.read(node).with_columns(response=pl.lit("another")), lake.stored(node).provenance)
    result = small("-o", str(tmp_path / "out"), "--only", "main", "--figures", "svg", home=tmp_path / "home")
    assert result.returncode == 0, result.stderr
    # The home was moved: the warehouse is built anew first, which is told too.
    *_, said = result.stderr.splitlines()
    assert said == (
        "Outdated numbers: 2 of 2 marts (main_results, significance) are not up to date: 1 cell "
        "(wide|rule-teacher__base) changed since; `mbt demo` makes them anew, or materialize what is stale in the UI."
    )
    for file in ("main.md", "main.tex", "figures.md"):
        assert "Outdated numbers: 2 of 2 marts" in (tmp_path / "out" / file).read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "pdf"], ["--format takes md, latex, csv, joined by commas, not 'pdf'"]),
        (["--only", "main,rpp"], ["--only takes main, aes, rrp, mqi, joined by commas, not 'main,rpp'"]),
        (["--only", ","], ["--only takes main, aes, rrp, mqi"]),
        (["--figures", "gif"], ["--figures takes svg, png"]),
        (["--dataset", "hotpot"], ["no dataset 'hotpot' in this study; there are: trails, wide"]),
    ],
)
def test_a_wrong_choice_names_the_right_ones(small, tmp_path, arguments, words):
    refused(small("-o", str(tmp_path / "out"), *arguments), *words)
    assert not (tmp_path / "out").exists()


def test_before_anything_was_made_it_says_how_to_make_it(small, tmp_path):
    refused(small(home=tmp_path / "none"), "the study small has no marts yet in", "run `mbt demo` first")
    assert not (tmp_path / "none").exists()


def test_without_matplotlib_the_tables_come_and_the_error_says_what_to_install(small, tmp_path):
    result = small("-o", str(tmp_path), start=("-c", BLOCKER))
    refused(result, "figures need matplotlib, which is not installed: `pip install -e .[plots]`", "--no-figures")
    assert written(tmp_path) == sorted(ALL)
    result = small("-o", str(tmp_path), "--no-figures", start=("-c", BLOCKER))
    assert (result.returncode, result.stderr) == (0, "")
