"""`mbt fetch` against a Hub on loopback: real processes, real downloads, real faults."""

import json
import os
import re
import signal
import subprocess
import sys

import polars as pl
import pytest
import yaml
from hub_server import HubServer
from processes import until

TOKEN = "hf_SecretThatNobodyMaySee"
PATIENT = {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60"}
WEIGHTS = os.urandom(200_000)
MODEL = {
    "config.json": b'{"n": 1}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": WEIGHTS,
}
LOADED = ["config.json", "model.safetensors", "tokenizer.json"]
BIG = 12_000_000
CHUNK = 10 * 1024 * 1024
"""`huggingface_hub` writes, and goes on after a cut, by chunks of this size."""


def parquet(tmp_path):
    rows = [
        {
            "id": "2hop__1", "question": "Who?", "answer": "me", "answer_aliases": ["I"], "answerable": True,
            "paragraphs": [{"title": "t", "paragraph_text": "p", "is_supporting": True}],
        }
    ]  # fmt: skip
    file = tmp_path / "rows.parquet"
    pl.DataFrame(rows).write_parquet(file)
    return file.read_bytes()


class Case:
    """A Hub, a study that needs `org/student`, `org/judge` and `org/facts` of it, and an empty cache."""

    def __init__(self, hub, folder):
        self.hub, self.folder = hub, folder
        self.cache = folder / "hf" / "hub"
        self.file = folder / "study.yaml"
        self.commits = {
            "org/student": hub.add("model", "org/student", MODEL),
            "org/judge": hub.add("model", "org/judge", {**MODEL, "config.json": b'{"n": 2}'}),
            "org/facts": hub.add("dataset", "org/facts", {"README.md": b"facts", "train.parquet": parquet(folder)}),
        }
        self.write()

    def write(self, **revisions):
        """The study file, with these revisions of models and dataset."""
        models = {
            "student": {"role": "student", "modes": ["base"], "source": {"kind": "hub", "repo": "org/student"}},
            "judge": {"role": "judge", "source": {"kind": "hub", "repo": "org/judge"}},
        }
        for name, model in models.items():
            model["server"] = {"kind": "vllm"}
            model["source"]["revision"] = revisions.get(name)
        facts = {"benchmark": "musique", "hub_id": "org/facts", "revision": revisions.get("facts")}
        study = {"name": "tiny", "datasets": {"facts": facts, "trails": {"benchmark": "trails"}}, "models": models}
        roles = {"training_datasets": ["facts"], "teacher": "judge", "judges": ["judge"]}
        self.file.write_text(yaml.safe_dump({**study, **roles}, sort_keys=False))

    def pin(self):
        self.write(
            student=self.commits["org/student"], judge=self.commits["org/judge"], facts=self.commits["org/facts"]
        )

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MBT_"))}
        own = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.folder / "hf"), "HF_TOKEN": TOKEN}
        return {**kept, **own, "HF_HUB_DISABLE_XET": "1", **PATIENT, **more}

    def command(self, *arguments):
        return [sys.executable, "-m", "mbt_assets.cli.main", "fetch", "--study", str(self.file), *arguments]

    def fetch(self, *arguments, **more):
        self.hub.requests.clear()
        result = subprocess.run(
            self.command(*arguments), env=self.environment(**more), capture_output=True, text=True, timeout=120
        )
        assert TOKEN not in result.stdout + result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def states(self, *arguments, **more):
        """Exit status, and state and reason of each repository."""
        result = self.fetch("--json", *arguments, **more)
        rows = {row["repo"]: row for row in json.loads(result.stdout)["repositories"]}
        return result.returncode, {repo: row["state"] for repo, row in rows.items()}, rows

    def start(self, **more):
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(), env=self.environment(**more), stdout=pipe, stderr=pipe, text=True)

    def python(self, code, **more):
        """What a program prints that reads the cache."""
        result = subprocess.run(
            [sys.executable, "-c", code], env=self.environment(**more), capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def content(self, repo, file, kind="models"):
        home = self.cache / f"{kind}--{repo.replace('/', '--')}"
        return (home / "snapshots" / self.commits[repo] / file).read_bytes()

    def blobs(self, repo, pattern="*"):
        return list((self.cache / f"models--{repo.replace('/', '--')}" / "blobs").glob(pattern))


@pytest.fixture
def case(tmp_path):
    with HubServer() as hub:
        yield Case(hub, tmp_path)


def flat(text):
    return " ".join(text.split())


def test_all_that_a_study_needs_is_fetched_and_opens_offline(case):
    result = case.fetch()
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "3 fetched"
    shown = flat(result.stdout)
    assert "study tiny: 3 repositories" in shown
    assert f"org/student │ model │ student │ newest ({case.commits['org/student'][:8]}) │ 200.0 kB" in shown
    code = """
import pathlib
from huggingface_hub import snapshot_download
print(*sorted(p.name for p in pathlib.Path(snapshot_download("org/facts", repo_type="dataset")).iterdir()))
loaded = ["*.json", "*.safetensors"]
print(*sorted(p.name for p in pathlib.Path(snapshot_download("org/student", allow_patterns=loaded)).iterdir()))
"""
    assert case.python(code, HF_HUB_OFFLINE="1").splitlines() == ["README.md train.parquet", " ".join(LOADED)]
    assert case.content("org/student", "model.safetensors") == WEIGHTS
    assert not case.hub.asked("model.bin")


def test_a_second_run_asks_once_for_each_repository_and_fetches_nothing(case):
    case.fetch()
    case.hub.sent.clear()
    code, states, _ = case.states()
    assert (code, set(states.values())) == (0, {"cached"})
    assert case.hub.sent == {}
    asked = sorted(case.hub.asked("/org/"))
    assert asked == ["GET /api/datasets/org/facts", "GET /api/models/org/judge", "GET /api/models/org/student"]
    assert "already cached" in case.fetch().stdout


@pytest.mark.parametrize("offline", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["online", "offline"])
def test_the_benchmark_reads_what_was_fetched_and_downloads_no_file_again(case, offline):
    case.pin()
    case.fetch()
    case.hub.sent.clear()
    code = f"""
from mbt_assets import benchmarks
rows = benchmarks.load("musique", "train", hub_id="org/facts", revision="{case.commits["org/facts"]}")
print([row["answer"] for row in rows])
"""
    assert case.python(code, **offline) == "['me']"
    assert case.hub.sent == {}


def test_what_was_fetched_loads_in_transformers_offline(case):
    make = f"""
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
words = Tokenizer(models.WordLevel({{"a": 0, "b": 1}}, unk_token="a"))
PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained({str(case.folder / "made")!r})
size = dict(vocab_size=2, hidden_size=8, intermediate_size=8, num_hidden_layers=1, head_dim=4)
Qwen3ForCausalLM(Qwen3Config(num_attention_heads=2, num_key_value_heads=1, **size)).save_pretrained(
    {str(case.folder / "made")!r})
"""
    case.python(make)
    files = {path.name: path.read_bytes() for path in (case.folder / "made").iterdir()}
    commit = case.hub.add("model", "org/student", {**files, "README.md": b"made"})
    assert case.fetch("--only", "student").returncode == 0
    load = f"""
from transformers import AutoModelForCausalLM, AutoTokenizer
for revision in ("{commit}", None):
    model = AutoModelForCausalLM.from_pretrained("org/student", revision=revision)
    print(type(model).__name__, AutoTokenizer.from_pretrained("org/student", revision=revision)("b").input_ids)
"""
    assert case.python(load, HF_HUB_OFFLINE="1").splitlines() == ["Qwen3ForCausalLM [1]"] * 2


def test_pinned_by_commit_and_cached_it_needs_no_network(case):
    case.pin()
    case.fetch()
    case.hub.stop()
    for offline in ({}, {"HF_HUB_OFFLINE": "1"}):
        result = case.fetch("--attempts", "1", **offline)
        assert (result.returncode, result.stderr.splitlines()[-1]) == (0, "3 already cached"), result.stderr


def test_without_a_network_what_is_not_pinned_cannot_be_told_and_says_so(case):
    case.fetch()
    case.hub.stop()
    code, _, rows = case.states("--attempts", "1")
    assert code == 1
    assert "the Hub cannot be reached (ConnectError" in rows["org/facts"]["reason"]
    assert "whose revision in the study is a full commit counts as there" in rows["org/facts"]["reason"]


def test_a_moved_revision_is_fetched_again_as_far_as_its_files_differ(case):
    case.fetch()
    case.hub.sent.clear()
    commit = case.hub.move("org/student", {"config.json": b'{"n": 3}'})
    code, states, rows = case.states()
    assert (code, states["org/student"], states["org/judge"]) == (0, "fetched", "cached")
    assert (rows["org/student"]["commit"], rows["org/student"]["to_fetch_bytes"]) == (commit, len(b'{"n": 3}'))
    assert case.hub.sent == {"org/student/config.json": len(b'{"n": 3}')}
    assert case.states()[1]["org/student"] == "cached"


def test_a_storm_of_faults_ends_well(case):
    case.hub.add("model", "org/student", {**MODEL, "model.safetensors": bytes(BIG)})
    case.hub.fail("GET /api/models/org/student", 503)
    case.hub.fail("GET /api/models/org/judge", 429, Retry_After="3")
    case.hub.fail("GET /api/datasets/org/facts/tree", 429, Retry_After="0")
    case.hub.fail("HEAD /org/student/.*config.json", 502)
    case.hub.fail("GET /org/judge/.*model.safetensors", 500)
    case.hub.drop("GET /org/student/.*model.safetensors", after=11_000_000)
    result = case.fetch()
    assert (result.returncode, result.stderr.splitlines()[-1]) == (0, "3 fetched"), result.stderr
    assert "org/student: the Hub answered 503; try 1 of 10" in result.stderr
    waits = float(re.search(r"org/judge: the Hub answered 429; try 1 of 10, the next in (\d+) s", result.stderr)[1])
    assert waits >= 3
    # After the cut it went on from the last chunk that had come whole.
    assert case.hub.sent["org/student/model.safetensors"] == 11_000_000 + BIG - CHUNK
    assert case.states()[:2] == (0, dict.fromkeys(case.commits, "cached"))


def test_a_fault_that_lasts_ends_after_the_attempts_and_the_rest_is_fetched(case):
    case.hub.fail("GET /api/models/org/student", 503, times=99)
    code, states, rows = case.states("--attempts", "2")
    assert (code, states) == (1, {"org/student": "failed", "org/judge": "fetched", "org/facts": "fetched"})
    assert rows["org/student"]["reason"].startswith("the Hub answered 503")
    assert len(case.hub.asked("/org/student")) == 2


def test_killed_midway_it_goes_on_with_the_files_that_are_missing(case):
    files = {"config.json": b"{}", "model-1.safetensors": os.urandom(300_000), "model-2.safetensors": bytes(BIG)}
    case.commits["org/student"] = case.hub.add("model", "org/student", files)
    case.hub.hold("GET /org/student/.*model-2", after=11_000_000)
    process = case.start()
    try:
        assert case.hub.wait_until_held()
        home = case.cache / "models--org--student" / "snapshots" / case.commits["org/student"]
        assert until(lambda: (home / "model-1.safetensors").exists())
        assert until(lambda: any(part.stat().st_size == CHUNK for part in case.blobs("org/student", "*.incomplete")))
    finally:
        process.kill()
        process.communicate()
    case.hub.release()
    result = case.fetch()
    assert (result.returncode, result.stderr.splitlines()[-1]) == (0, "3 fetched"), result.stderr
    assert case.hub.sent["org/student/model-1.safetensors"] == 300_000, "it was there whole"
    # A new process never uses the parts that another left: huggingface_hub names them by chance.
    assert case.hub.sent["org/student/model-2.safetensors"] == 11_000_000 + BIG
    assert case.content("org/student", "model-2.safetensors") == bytes(BIG)
    assert re.search(r"10.5 MB are parts of files that killed downloads left; .* remove .*blobs/\*", result.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_parts_and_can_be_run_again(case, number):
    case.hub.add("model", "org/student", {**MODEL, "model.safetensors": bytes(BIG)})
    case.hub.hold("GET /org/student/.*model.safetensors", after=11_000_000)
    process = case.start(HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert case.hub.wait_until_held()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted; what was finished is kept" in said
    assert "Traceback" not in said
    assert case.blobs("org/student", "*.incomplete") == []
    case.hub.release()
    assert case.fetch().returncode == 0


def test_interrupted_while_it_waits_it_ends_at_once(case):
    case.hub.fail("/api/models/org/student", 429, times=9, Retry_After="500")
    process = case.start()
    assert until(lambda: case.hub.asked("/api/models/org/student"))
    assert "the Hub answered 429; try 1 of 10, the next in 500 s" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130


def test_gated_missing_and_unknown_are_named_and_the_rest_is_fetched(case):
    case.hub.add("model", "org/student", MODEL, gated=True)
    case.hub.add("dataset", "org/facts", {"README.md": b"facts"}, gated=True)
    del case.hub.repos["model", "org/judge"]
    _, states, rows = case.states("--only", "org/judge", "--only", "facts", "--only", "student")
    assert set(states.values()) == {"failed"}
    assert "accept its terms at https://huggingface.co/org/student and set HF_TOKEN" in rows["org/student"]["reason"]
    assert "accept its terms at https://huggingface.co/datasets/org/facts and" in rows["org/facts"]["reason"]
    assert "the Hub has no such model, or it is private" in rows["org/judge"]["reason"]
    case.hub.add("model", "org/judge", MODEL)
    case.write(facts="v9")
    result = case.fetch()
    assert result.returncode == 1
    assert "failed: org/facts: it has no revision 'v9'" in result.stderr
    assert result.stderr.splitlines()[-1] == "2 failed, 1 fetched"
    assert not case.hub.asked("resolve/main"), "a gated repository is known before its files are asked for"


def test_a_gated_repository_is_fetched_with_a_token_that_is_let_in(case):
    case.hub.add("model", "org/student", MODEL, gated=True)
    result = case.fetch("--only", "student", HF_TOKEN=case.hub.token)
    assert result.returncode == 0, result.stderr
    assert case.hub.token not in result.stdout + result.stderr


@pytest.mark.parametrize(("status", "words"), [(401, "check HF_TOKEN"), (403, "check HF_TOKEN"), (400, "answered 400")])
def test_a_refusal_is_not_asked_again_and_no_echo_of_the_token_is_shown(case, status, words):
    case.hub.fail("/api/models/org/student", status, times=9, X_Error_Message=f"Invalid token {TOKEN}")
    code, _, rows = case.states("--only", "student")
    assert code == 1
    assert words in rows["org/student"]["reason"]
    assert len(case.hub.asked("/org/student")) == 1


@pytest.mark.parametrize("wrong", ["\x01", "é"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(case, wrong):
    result = case.fetch("--only", "student", HF_TOKEN=TOKEN + wrong)
    assert result.returncode == 2
    assert "holds characters that no token has" in result.stderr


def test_a_listing_that_fails_midway_is_not_taken_for_a_whole_download(case):
    """huggingface_hub then gives the snapshot's folder as it is, if there is one, and says nothing."""
    case.python('from huggingface_hub import hf_hub_download as get; get("org/student", "config.json")')
    case.hub.fail("/api/models/org/student/tree", 403)
    result = case.fetch("--only", "student")
    assert result.returncode == 0, result.stderr
    assert "2 files did not come" in result.stderr
    assert case.content("org/student", "model.safetensors") == WEIGHTS


def test_a_damaged_file_in_the_cache_is_named(case):
    case.fetch("--only", "student")
    (blob,) = [path for path in case.blobs("org/student") if path.stat().st_size == len(WEIGHTS)]
    blob.write_bytes(b"torn")
    _, _, rows = case.states("--only", "student")
    assert (
        f"model.safetensors has 4 bytes in the cache and 200000 on the Hub: remove {blob}"
        in rows["org/student"]["reason"]
    )
    blob.unlink()
    assert case.fetch("--only", "student").returncode == 0


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_too_little_disk_is_refused_before_anything_is_fetched(case, arguments):
    case.hub.announce("org/student", "model.safetensors", 10**18)
    result = case.fetch(*arguments)
    assert result.returncode == 2
    assert re.search(
        r"1\.0 EB are to be fetched and .* free where the cache lies .*HF_HOME.*--only", flat(result.stderr)
    )
    assert not case.hub.asked("/resolve/")
    assert case.fetch("--only", "judge").returncode == 0


def test_a_dry_run_fetches_nothing(case):
    code, states, rows = case.states("--dry-run")
    assert (code, set(states.values())) == (0, {"to fetch"})
    assert rows["org/student"]["bytes"] == sum(len(MODEL[name]) for name in LOADED)
    assert not case.hub.asked("/resolve/")
    assert not case.cache.exists()


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--skip-models",), ["org/facts"]),
        (("--skip-datasets",), ["org/student", "org/judge"]),
        (("--only", "judge", "--only", "org/facts"), ["org/judge", "org/facts"]),
        (("--skip-models", "--skip-datasets"), []),
    ],
)
def test_a_part_can_be_chosen(case, arguments, left):
    code, states, _ = case.states("--dry-run", *arguments)
    assert (code, list(states)) == (0, left)


def test_an_unknown_name_is_refused_with_those_there_are(case):
    result = case.fetch("--only", "studnet")
    assert result.returncode == 2
    assert "--only studnet: not among what is needed from the Hub" in result.stderr
    assert "org/student (student); org/judge (judge); org/facts (facts)" in result.stderr
    assert not case.hub.asked("/org/")


def test_a_data_set_of_the_local_mirror_is_not_fetched(case):
    folder = case.folder / "mirror" / "org" / "facts"
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_bytes(parquet(case.folder))
    code, states, rows = case.states(MBT_HUB_MIRROR=str(case.folder / "mirror"))
    assert (code, states["org/facts"], states["org/student"]) == (0, "local mirror", "fetched")
    assert rows["org/facts"]["path"] == str(folder)
    assert not case.hub.asked("/org/facts")


def test_a_data_set_that_the_mirror_lacks_is_told_since_no_run_would_find_it(case):
    (case.folder / "mirror").mkdir()
    result = case.fetch("--skip-models", MBT_HUB_MIRROR=str(case.folder / "mirror"))
    assert result.returncode == 1
    assert "there is no folder" in result.stderr
    assert "unset MBT_HUB_MIRROR to use the Hub" in flat(result.stderr)


def test_a_study_that_needs_nothing_says_so(case):
    case.file.write_text("embedded")
    command = [sys.executable, "-m", "mbt_assets.cli.main", "fetch", "--study", "embedded"]
    result = subprocess.run(command, env=case.environment(), capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr.strip()) == (0, "nothing is needed from the Hub")
