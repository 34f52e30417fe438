"""Pushing a folder over real HTTP: what arrives, what is refused before anything is sent, and what faults leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from hub_uploads import READS, WRITES, HubToWriteTo
from publishing_study import published

from mbt_assets.publishing import PublishingError, pushing
from mbt_assets.publishing.pushing import push

REPO = "us/rows"


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    target = tmp_path_factory.mktemp("given") / "rows"
    published(shared, target, "training-sets")
    return target


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub of one's own, that this process takes for the real one."""
    with HubToWriteTo() as server:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        # The faster transfer speaks to other servers than the Hub itself.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", WRITES)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_arrives_in_one_commit_of_a_private_repository(hub, folder):
    done = push(folder, REPO)
    assert {name: held for name, held in hub.files(REPO).items() if name != ".gitattributes"} == contents(folder)
    repo = hub.repos["dataset", REPO]
    assert repo.private and len(repo.commits) == 2
    assert (done.is_new, done.commit, done.removed) == (True, repo.commit, 0)
    assert done.files == len(contents(folder))


def test_a_public_repository_has_to_be_asked_for(hub, folder):
    push(folder, REPO, public=True)
    assert not hub.repos["dataset", REPO].private
    before = hub.files(REPO)
    with pytest.raises(PublishingError, match="everybody may read it: give --public"):
        push(folder, REPO)
    push(folder, "us/private")
    with pytest.raises(PublishingError, match="us/private is there and private: leave --public out"):
        push(folder, "us/private", public=True)
    assert hub.files(REPO) == before


def test_a_later_folder_takes_the_place_of_an_earlier_one(hub, folder, shared, tmp_path):
    push(folder, REPO)
    hub.move(REPO, {"notes.txt": b"somebody's"})
    published(shared, tmp_path / "fewer", "training-sets", variants=["pupil__mbt-s"])
    done = push(tmp_path / "fewer", REPO)
    expected = {**contents(tmp_path / "fewer"), "notes.txt": b"somebody's", ".gitattributes": b""}
    assert hub.files(REPO) == expected
    assert not done.is_new and done.removed == 4


def test_an_edited_card_is_pushed_as_it_is(hub, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "mine")
    card = tmp_path / "mine" / "README.md"
    card.write_text(card.read_text() + "\nMy own words.\n")
    push(tmp_path / "mine", REPO)
    assert hub.files(REPO)["README.md"].endswith(b"My own words.\n")


def test_a_repository_with_other_things_in_it_is_not_touched(hub, folder):
    hub.add("dataset", REPO, {"data.csv": b"years of work"})
    hub.repos["dataset", REPO].private = True
    with pytest.raises(PublishingError, match="holds files that mbt publish did not put there"):
        push(folder, REPO)
    hub.move(REPO, {"provenance.json": b'{"format": "another"}'})
    with pytest.raises(PublishingError, match="did not put there"):
        push(folder, REPO)
    assert not hub.held and hub.asked("POST") == []


def test_without_a_token_nothing_is_sent(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishingError, match=r"no token for the Hub: set HF_TOKEN .*`hf auth login`"):
        push(folder, REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_zwölf")
    with pytest.raises(PublishingError, match="characters that no token has"):
        push(folder, REPO)
    assert hub.requests == []


def test_a_token_that_is_refused_or_may_not_write_is_told_and_never_shown(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_nobody_knows_it")
    with pytest.raises(PublishingError, match="does not accept the token \\(401\\)") as refused:
        push(folder, REPO)
    assert "hf_nobody_knows_it" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", READS)
    with pytest.raises(PublishingError, match="may not write to us/rows \\(403\\)"):
        push(folder, REPO)
    monkeypatch.setenv("HF_TOKEN", WRITES)
    with pytest.raises(PublishingError, match="may not write to them/rows \\(403\\)"):
        push(folder, "them/rows")
    assert not hub.repos and not hub.held


@pytest.mark.parametrize(("fault", "said"), [("create", "answered 500"), ("commit", "answered 500")])
def test_what_the_hub_fails_at_is_told_and_the_same_command_goes_on(hub, folder, fault, said):
    hub.fail(f"POST .*/{fault}", 500, times=1)
    with pytest.raises(PublishingError, match=said):
        push(folder, REPO)
    assert ("dataset", REPO) not in hub.repos or set(hub.files(REPO)) == {".gitattributes"}
    sent = len(hub.asked("PUT /large/"))
    push(folder, REPO)
    assert "README.md" in hub.files(REPO)
    assert len(hub.asked("PUT /large/")) == len({name for name in contents(folder) if name.endswith(".parquet")})
    assert fault == "create" or sent > 0


def test_a_hub_that_is_gone_is_told(hub, folder):
    hub.stop()
    with pytest.raises(PublishingError, match=r"us/rows was not pushed: the Hub cannot be reached .* check"):
        push(folder, REPO)


def test_who_comes_second_is_told_to_push_again(hub, folder):
    push(folder, REPO)
    hub.before_commit = lambda: hub.move(REPO, {"README.md": b"another's"})
    with pytest.raises(PublishingError, match="somebody else has written to it meanwhile"):
        push(folder, REPO)
    assert hub.files(REPO)["README.md"] == b"another's"


def test_an_interrupt_during_the_commit_does_not_say_that_nothing_was_changed(hub, folder, tmp_path):
    command = [str(Path(sys.executable).parent / "mbt"), "publish", "push", str(folder), "--repo", REPO]
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITES}
    with subprocess.Popen(command, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True) as process:
        hub.before_commit = lambda: process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"interrupted; {REPO} is as it was, or new and empty, or has all of it" in said
    assert "nothing was changed" not in said and "Traceback" not in said
    assert hub.repos["dataset", REPO].private


def test_a_fault_of_this_machine_is_not_told_as_one_of_the_network(hub, folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "mine")
    data = next((tmp_path / "mine").glob("*/*.parquet"))
    check = pushing._token
    # Gone between the check of the folder and its upload.
    monkeypatch.setattr(pushing, "_token", lambda: data.unlink() or check())
    with pytest.raises(PublishingError, match="us/rows was not pushed: ") as told:
        push(tmp_path / "mine", REPO)
    assert data.name in str(told.value) and "cannot be reached" not in str(told.value)


def test_folders_that_are_not_whole_are_refused(hub, folder, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(PublishingError, match="is no folder that mbt publish wrote"):
        push(tmp_path / "other", REPO)
    shutil.copytree(folder, tmp_path / "broken")
    data = next((tmp_path / "broken").glob("*/*.parquet"))
    data.write_bytes(b"PAR1")
    with pytest.raises(PublishingError, match=r"train-00000-of-00001.parquet is another than it was"):
        push(tmp_path / "broken", REPO)
    original = next(folder.glob(f"{data.parent.name}/*.parquet")).read_bytes()
    data.write_bytes(original[:100] + bytes([original[100] ^ 1]) + original[101:])
    with pytest.raises(PublishingError, match=r"train-00000-of-00001.parquet is another than it was"):
        push(tmp_path / "broken", REPO)
    data.unlink()
    with pytest.raises(PublishingError, match=r"train-00000-of-00001.parquet is not there"):
        push(tmp_path / "broken", REPO)
    manifest = tmp_path / "broken" / "provenance.json"
    content = json.loads(manifest.read_bytes())
    (tmp_path / "secret").write_text("mine")
    content["files"] = {"../secret": {"bytes": 4}}
    manifest.write_text(json.dumps(content))
    with pytest.raises(PublishingError, match="lies outside"):
        push(tmp_path / "broken", REPO)
    for name in ("rows", "a/b/c", "us/ro ws"):
        with pytest.raises(PublishingError, match=f"--repo '{name}'"):
            push(folder, name)
    assert hub.requests == []
