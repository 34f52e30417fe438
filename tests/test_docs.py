"""The examples of the pages under docs: studies that are valid, a mode that works."""

import re
from pathlib import Path

import pytest
import yaml

from mbt_assets.definitions import build_platform
from partitions import modes
from partitions.grid import Grid, Node
from partitions.study_file import load_study, parse_study
from resources.home import Home

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(language):
    """(page, text) of every code block of a language."""
    found = []
    for page in PAGES:
        found += [(page.name, text) for text in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)]
    return found


STUDIES = [(page, text) for page, text in blocks("yaml") if "models:" in text or "published:" in text]
PARTS = [(page, text) for page, text in blocks("yaml") if text.startswith("sft:")]


def test_there_are_examples():
    assert len(STUDIES) >= 3 and len(PARTS) >= 2


@pytest.mark.parametrize("text", [text for _, text in STUDIES])
def test_a_study_of_the_docs_is_valid(text):
    study = parse_study(text)
    assert study.name == "my-study"
    assert set(load_study("paper").models) <= set(study.models)


@pytest.mark.parametrize("text", [text for _, text in PARTS])
def test_settings_of_the_docs_are_valid(text):
    study = parse_study("extends: paper\nname: my-study\n" + text)
    assert study.sft.trl | study.sft.by_mode


def test_the_mode_of_the_docs_takes_its_place_in_the_graph(monkeypatch, small_study, tmp_path):
    (code,) = [text for page, text in blocks("python") if page == "extending.md"]
    mode = eval(code.strip(), {"Mode": modes.Mode})
    monkeypatch.setitem(modes.MODES, mode.name, mode)
    content = yaml.safe_load(yaml.safe_dump(small_study.model_dump(mode="json")))
    content["models"]["tiny"]["modes"].append(mode.name)
    study = parse_study(yaml.safe_dump(content))
    source = Node("synthesized_traces", "trails|rule-teacher__mbt-s")
    assert source in Grid(study).parents(Node("training_sets", f"trails|tiny__{mode.name}"))
    definitions = build_platform(study, Home(tmp_path, "x")).definitions()
    assert f"tiny__{mode.name}" in definitions.resolve_job_def("train").partitions_def.get_partition_keys()
