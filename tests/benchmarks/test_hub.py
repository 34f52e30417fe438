"""Where rows come from: a local mirror, read afresh each time, or the Hub, at a commit that is written down."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mbt_assets import benchmarks
from mbt_assets.benchmarks import BenchmarkError, hub

ROWS = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]


def read(hub_id: str = "me/tiny", config: str | None = None, split: str = "train") -> list[dict[str, Any]]:
    return list(hub.open_rows(hub_id, config, split, None))


def test_rows_come_in_the_mirrors_order_with_nested_columns(mirror: Any) -> None:
    rows = [{"id": "a", "parts": [{"title": "t", "lines": ["x", "y"]}]}, {"id": "b", "parts": []}]
    mirror.put("me/tiny", train=rows)
    assert read() == rows


def test_a_configuration_is_chosen_by_name(mirror: Any) -> None:
    mirror.put("me/tiny", "small", train=ROWS)
    assert read(config="small") == ROWS
    with pytest.raises(BenchmarkError, match=r"'train' of configuration 'large' .*'large' not found.*small"):
        read(config="large")


def test_a_folder_without_readme_is_understood_by_its_file_names(mirror: Any) -> None:
    (mirror.put("me/tiny", train=ROWS) / "README.md").unlink()
    assert read() == ROWS


def test_a_missing_folder_names_the_variable_and_what_to_do(mirror: Any) -> None:
    with pytest.raises(BenchmarkError) as caught:
        read("me/absent")
    message = str(caught.value)
    assert f"dataset me/absent: there is no folder {mirror.root / 'me/absent'}" in message
    assert "unset MBT_HUB_MIRROR to use the Hub" in message


def test_a_missing_split_names_those_that_are_there(mirror: Any) -> None:
    mirror.put("me/tiny", train=ROWS, validation=ROWS)
    with pytest.raises(BenchmarkError, match=r"split 'test' cannot be opened .*'train', 'validation'.*MBT_HUB_MIRROR"):
        read(split="test")


def test_a_folder_without_parquet_files_is_refused(mirror: Any) -> None:
    shutil.rmtree(mirror.put("me/tiny", train=ROWS) / "data")
    with pytest.raises(BenchmarkError, match=r"me/tiny: there is no Parquet file under"):
        read()


def test_a_split_whose_files_are_gone_is_refused(mirror: Any) -> None:
    folder = mirror.put("me/tiny", train=ROWS, validation=ROWS)
    (folder / "data" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(BenchmarkError, match=r"me/tiny: split 'train' cannot be opened.*MBT_HUB_MIRROR"):
        read()


def test_a_damaged_file_is_refused(mirror: Any) -> None:
    folder = mirror.put("me/tiny", train=ROWS)
    (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BenchmarkError, match=r"me/tiny: .*MBT_HUB_MIRROR"):
        read()


def test_a_changed_mirror_is_noticed_even_when_size_and_time_of_its_file_stay(mirror: Any) -> None:
    folder = mirror.put("me/tiny", train=ROWS)
    file = folder / "data" / "train-00000-of-00001.parquet"
    before, stamp, digest = read(), file.stat(), hub.resolved_revision("me/tiny")
    pl.DataFrame([{"id": "c", "n": 3}, {"id": "d", "n": 4}]).write_parquet(file)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert before == ROWS
    assert [row["id"] for row in read()] == ["c", "d"]
    assert hub.resolved_revision("me/tiny") != digest


def test_the_mirrors_revision_is_the_digest_of_its_files(mirror: Any) -> None:
    folder = mirror.put("me/tiny", train=ROWS)
    revision = hub.resolved_revision("me/tiny", "main")
    assert revision.startswith("mirror:sha256:") and len(revision) == len("mirror:sha256:") + 64
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("")
    shutil.copytree(folder, mirror.root / "me" / "copy")
    assert hub.resolved_revision("me/tiny") == revision == hub.resolved_revision("me/copy")
    (folder / "README.md").write_text("---\nconfigs: []\n---\n")
    assert hub.resolved_revision("me/tiny") != revision


def test_a_full_commit_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MBT_HUB_MIRROR", raising=False)
    commit = "0123456789abcdef" * 2 + "01234567"
    assert (
        hub.resolved_revision("me/tiny", commit) == hub.resolved_revision("me/tiny", f"hub:{commit}") == f"hub:{commit}"
    )


def test_a_generated_benchmarks_revision_depends_on_seed_and_options() -> None:
    revisions = {
        benchmarks.resolved_revision("trails"),
        benchmarks.resolved_revision("trails", seed=1),
        benchmarks.resolved_revision("trails", options={"distractor_chains": 2}),
    }
    assert len(revisions) == 3 and all(r.startswith("generated:sha256:") for r in revisions)
    assert benchmarks.resolved_revision("trails") in revisions


def run_against(endpoint: str, home: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` with the Hub at `endpoint`: the Hub's client reads its address when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MBT_HUB_MIRROR"))}
    environment = {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", f"from mbt_assets import benchmarks\n{code}"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_rows_come_from_the_hub_at_the_commit_it_names(mirror: Any, serve_hub: Any, tmp_path: Path) -> None:
    row = {
        "id": "2hop__1", "question": "Who?", "answer": "me", "answer_aliases": ["I"], "answerable": True,
        "paragraphs": [{"title": "t", "paragraph_text": "p", "is_supporting": True}],
    }  # fmt: skip
    folder = mirror.put("me/tiny", train=[row])
    code = """
revision = benchmarks.resolved_revision("musique", hub_id="me/tiny")
print(revision, [q["answer"] for q in benchmarks.load("musique", "train", hub_id="me/tiny", revision=revision)])
try:
    benchmarks.load("musique", "train", hub_id="me/tiny", revision="no-such-branch")
except benchmarks.BenchmarkError as error:
    print(error)
"""
    with serve_hub(folder, "me/tiny") as endpoint:
        done = run_against(endpoint, tmp_path / "home", code)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "hub:c0ffee" + "0" * 34 + " ['me']"
    assert "dataset me/tiny: the Hub refuses it at revision 'no-such-branch'" in second
    assert "%|" not in done.stderr, "no progress bars"


def test_without_a_network_the_error_names_the_mirror_as_the_offline_way(tmp_path: Path) -> None:
    code = """
try:
    benchmarks.load("hotpotqa", "train")
except benchmarks.BenchmarkError as error:
    print(error)
"""
    done = run_against("http://127.0.0.1:9", tmp_path / "home", code)
    assert "dataset hotpotqa/hotpot_qa: the Hub cannot be asked" in done.stdout, done.stderr
    assert "to work offline, set MBT_HUB_MIRROR to a folder that holds hotpotqa/hotpot_qa/README.md" in done.stdout
