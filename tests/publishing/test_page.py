"""The page docs/publishing.md: its commands do what it says, from the folder to the Hub and back."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_uploads import READS, WRITES, HubToWriteTo

PAGE = Path(__file__).parents[2] / "docs" / "publishing.md"


def blocks(language):
    """The page's code of one language, with the names of the study that is written by hand."""
    names = {"tiny__base": "pupil__base", "tiny__mbt-r": "pupil__base", "my-name": "us"}
    for text in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for theirs, ours in names.items():
            text = text.replace(theirs, ours)
        yield text


@pytest.fixture
def place(shared, tmp_path):
    """An empty working folder, and a way to run commands there over the study."""
    study = tmp_path / "by_hand.yaml"
    study.write_text(yaml.safe_dump(shared.study.model_dump(mode="json"), sort_keys=False))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"MBT_HOME": str(shared.home.root), "MBT_STUDY": str(study), "PATH": path, "HF_HOME": str(tmp_path / "hf")}
    (tmp_path / "work").mkdir()

    def run(*command, **environment):
        environment = {**os.environ, **own, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITES, **environment}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path / "work", timeout=120
        )

    return run


def test_its_commands_write_load_and_push(place, tmp_path):
    write, push = blocks("sh")
    (load,) = blocks("python")
    with HubToWriteTo() as hub:
        wrote = place("bash", "-ec", write)
        assert wrote.returncode == 0, wrote.stderr
        loaded = place(sys.executable, "-c", load + "\nprint(sets.num_rows, rollouts.num_rows)")
        assert loaded.stdout.split() == ["48", "8"], loaded.stderr
        refused = place("bash", "-ec", push, HF_ENDPOINT=hub.url, HF_TOKEN=READS)
        assert refused.returncode == 2 and "may not write to us/sets (403)" in refused.stderr
        assert "Traceback" not in refused.stderr and READS not in refused.stderr
        pushed = place("bash", "-ec", push.strip() + " --json", HF_ENDPOINT=hub.url)
        assert pushed.returncode == 0, pushed.stderr
        told = json.loads(pushed.stdout)
        assert told["commit"] == hub.repos["dataset", "us/sets"].commit and told["url"] in pushed.stderr
        assert "new repository us/sets" in pushed.stderr and "it/s" not in pushed.stderr
    folder = tmp_path / "work" / "sets"
    sent = hub.files("us/sets")
    assert {name for name in sent if name != ".gitattributes"} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
