"""What pages say of the code holds: messages, variables, settings, commands and pictures that they name are there."""

import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

import sql
from jobs.jobs import asset_jobs
from mbt_assets.cli.main import app
from partitions.study_file import load_study, parse_study
from resources.tables import LAKE_TABLES, TABLES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = ("mbt", "mbt_assets", "partitions", "resources", "jobs", "sql")
LARGEST, ALL_OF_THEM = 150_000, 1_500_000
"""Bytes of a picture, and of all pictures, at most."""
OF_OTHERS = {"Extra inputs are not permitted"}
"""Messages that a library words."""


def source(*folders):
    files = [ROOT / "mbt", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    return "\n".join(path.read_text() for path in files)


def page(name):
    return (DOCS / name).read_text()


def test_every_message_of_the_troubleshooting_page_is_one_of_the_code():
    # Long messages are several strings in the code: their seams are taken out.
    code = re.sub(r'"\s*\n\s*f?r?"', "", source(*CODE))
    messages = re.findall(r"^\| `([^`]+)`", page("troubleshooting.md"), re.MULTILINE)
    assert len(messages) > 30
    for message in set(messages) - OF_OTHERS:
        for part in re.split(r"…|MBT_[A-Z_]+|\w*\.yaml:5: models\.tiny\.modes\.1: ", message):
            assert part.strip(" ;:()") in code, message


def test_the_page_of_variables_has_those_that_the_code_reads_and_no_others():
    read = set(re.findall(r"\bMBT_[A-Z_]+\b", source(*CODE)))
    listed = set(re.findall(r"`(MBT_[A-Z_]+)`", page("environment.md")))
    for_tests = {"MBT_TEST_HUB", "MBT_CHROMIUM"}
    assert listed == read | for_tests


def test_every_setting_that_the_reference_page_names_is_one_of_a_study():
    study = parse_study("extends: paper\nname: my-study\n").model_dump()
    known = {**study, "datasets": study["datasets"]["musique"], "models": study["models"]["qwen3-4b"]}
    named = re.findall(
        r"`((?:datasets|models|limits|rollouts|sampling|sft)\.(?!sh\b|py\b)[\w.<>]+)",
        page("coming-from-the-reference.md"),
    )
    assert len(named) > 15
    for setting in named:
        place = known
        for part in setting.replace(".<name>", "").split("."):
            assert part in place, setting
            place = place[part]


def test_every_table_column_that_the_reference_page_names_is_there():
    named = re.findall(r"`(\w+)\.(\w+)`", page("coming-from-the-reference.md"))
    there = {name: set(sql.load(name).columns) for name in (*sql.CELLS, *sql.MARTS)}
    there |= {name: set(schema.columns()) for name, schema in TABLES.items()}
    looked_at = [(table, column) for table, column in named if table in there]
    assert len(looked_at) >= 8
    assert all(column in there[table] for table, column in looked_at), looked_at


@pytest.mark.parametrize("name", ["tour.md", "concepts.md", "coming-from-the-reference.md"])
def test_every_command_of_a_page_is_one_of_mbt_with_those_options(name):
    for line in re.findall(r"(?:\./)?\b(mbt [a-z][^`\n|(;]*)", page(name)):
        words = line.split('"')[0].split()
        command = get_command(app)
        while isinstance(command, TyperGroup) and words[1:] and words[1] in command.commands:
            command, words = command.commands[words[1]], words[1:]
        if isinstance(command, TyperGroup):
            continue
        options = {one for parameter in command.get_params(typer.Context(command)) for one in parameter.opts}
        assert {word.rstrip(".,") for word in words if word.startswith("--")} <= options, line


def test_every_dataset_and_variant_of_a_command_is_in_the_study_that_it_names():
    looked_at = 0
    for text in (path.read_text().replace("\\\n", " ") for path in DOCS.glob("*.md")):
        for line in re.findall(r"\bmbt [a-z][^`\n|;]*", text):
            given = re.findall(r"--(study|dataset|variant)[ =]([\w./-]*\w)", line)
            chosen = [(option, value) for option, value in given if option != "study"]
            known = studies_of(text, dict(given).get("study", "embedded")) if chosen else []
            for option, value in chosen:
                assert any(value in (one.datasets if option == "dataset" else one.variants) for one in known), line
            looked_at += len(chosen)
    assert looked_at > 15


def studies_of(text, study):
    """The packaged study of a name; of a file's name, those that the page writes out."""
    if not study.endswith(".yaml"):
        return [load_study(study)]
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return [parse_study(block) for block in blocks if f"\nname: {Path(study).stem}\n" in block]


def test_every_job_that_a_page_names_as_one_is_there():
    there = {job.name for job in asset_jobs()} | {"whole_variant", "whole_dataset"}
    pages = "\n".join(path.read_text() for path in DOCS.glob("*.md"))
    assert set(re.findall(r"\bjobs? `(\w+)`", pages)) <= there


def test_the_concepts_name_every_table():
    text = page("concepts.md")
    tables = set(LAKE_TABLES)
    assert {name for name in tables if f"`{name}`" not in text} == set()


def test_the_keys_and_the_addresses_of_the_explorer_are_those_of_its_page():
    help_text = (ROOT / "mbt_assets/explore/templates/base.html").read_text()
    assert set(re.findall(r"<kbd>(.*?)</kbd>", page("explore.md"))) == set(re.findall(r"<kbd>(.*?)</kbd>", help_text))
    routes = set(re.findall(r'Route\("(/[a-z]*)', source("mbt_assets/explore")))
    named = set(re.findall(r"`(/[a-z]*)", page("explore.md")))
    assert named == {route for route in routes if not route.startswith("/static")}


def test_pages_show_the_pictures_that_the_script_takes_and_no_others():
    script = (DOCS / "pictures.py").read_text()
    taken = set(re.findall(r'^    "(\w+)": ', script, re.MULTILINE))
    shown = {n for path in DOCS.glob("*.md") for n in re.findall(r"\]\(pictures/(\w+)\.png\)", path.read_text())}
    there = {path.stem: path.stat().st_size for path in (DOCS / "pictures").glob("*.png")}
    assert taken == shown == set(there)
    assert max(there.values()) <= LARGEST and sum(there.values()) <= ALL_OF_THEM


def test_every_picture_says_what_it_shows():
    pictures = [text for path in DOCS.glob("*.md") for text in re.findall(r"!\[([^\]]*)\]\(", path.read_text())]
    assert pictures and all(len(text) > 10 for text in pictures)
