"""The commands of the README, run as they stand there in a fresh clone with an empty home.

Slow by nature: it sets up an environment and runs the main job. `-m "not slow"` leaves it out.
"""

import html
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml
from dagster._core.definitions.instigation_logger import get_instigation_log_records
from web import serving_ui, wait_for

ROOT = Path(__file__).parent.parent
PASSED_ON = (
    "PATH",
    "LANG",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "SSL_CERT_FILE",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_CONFIG_FILE",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
)
HUB = "MBT_HUB_MIRROR=path/to/hub "


def readme_commands():
    """Every line of the README's sh blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of what git tracks here, as it is in the working tree."""
    folder = tmp_path_factory.mktemp("clone") / "mbt-assets"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, target)
    return folder


@pytest.fixture(scope="module")
def shell(clone, tmp_path_factory):
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment["HOME"] = str(tmp_path_factory.mktemp("home"))

    def run(line):
        return subprocess.run(["bash", "-c", line], cwd=clone, env=environment, capture_output=True, timeout=1500)

    run.environment = environment
    return run


def test_the_first_two_commands_are_the_main_job_and_the_tests():
    assert readme_commands()[:2] == ["./mbt demo", "./mbt test"]


@pytest.mark.slow
def test_the_main_job_from_nothing(clone, shell):
    result = shell(readme_commands()[0])
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    table = result.stdout.decode()
    for dataset in ("trails", "trails-wide"):
        for variant in ("tiny__base", "tiny__mbt-s", "tiny__mbt-r", "tiny__mbt-r-grpo", "rule-teacher__base"):
            assert re.search(rf"│ {dataset} +│ {variant} ", table), (dataset, variant)
    assert all(column in table for column in ("EM", "F1", "tokens", "AES", "MQI"))


@pytest.mark.slow
def test_the_student_has_learned(shell):
    """On held-out questions MBT is at least 0.2 above the base, in fewer tokens."""
    query = (
        "select m.variant, m.exact_match - b.exact_match, b.mean_tokens - m.mean_tokens from main_results m "
        "join main_results b on b.dataset = m.dataset and b.variant = 'tiny__base' "
        "where m.dataset = 'trails' and m.variant in ('tiny__mbt-s', 'tiny__mbt-r')"
    )
    result = shell(f'./mbt sql "{query}" --format csv')
    rows = pl.read_csv(result.stdout).rows()
    assert len(rows) == 2
    assert max(gain for _, gain, _ in rows) >= 0.2, rows
    assert all(saved > 0 for _, _, saved in rows), rows


@pytest.mark.slow
def test_aes_agrees_with_a_hand_calculation_from_the_main_results(shell):
    query = (
        "select a.aes, m.exact_match as acc, b.exact_match as acc_b, m.mean_tokens as len, b.mean_tokens as len_b "
        "from aes a join main_results m using (dataset, variant) "
        "join main_results b on b.dataset = m.dataset and b.model = m.model and b.mode = 'base'"
    )
    rows = pl.read_csv(shell(f'./mbt sql "{query}" --format csv').stdout).rows(named=True)
    assert len(rows) == 20
    for row in rows:
        shorter = (row["len_b"] - row["len"]) / row["len_b"]
        better = (row["acc"] - row["acc_b"]) / row["acc_b"]
        expected = shorter + 3 * better if better >= 0 else shorter - 5 * abs(better)
        assert row["aes"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [c for c in readme_commands()[2:] if not c.startswith(("./mbt ui", "./mbt explore", HUB)) and "/mbt" in c],
)
def test_the_other_commands_work_after_it(shell, line):
    result = shell(line)
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    assert result.stdout.strip()


@pytest.mark.slow
def test_the_explorer_leads_from_the_grid_to_a_trace(clone, shell):
    command = ["./mbt", "explore", "--port", "0"]
    process = subprocess.Popen(command, cwd=clone, env=shell.environment, stderr=subprocess.PIPE, text=True)
    try:
        address = re.match(r"(http://\S+) ", process.stderr.readline()).group(1)

        def links(path, prefix):
            with urllib.request.urlopen(address + path, timeout=60) as reply:
                return re.findall(rf'href="({prefix}[^"]*)"', reply.read().decode())

        cells = links("/", "/cell/")
        assert len(cells) == 20
        traces = links(cells[0], "/trace/")
        assert traces
        assert links(html.unescape(traces[0]), "/training/|/compare")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        process.stderr.close()


@pytest.mark.slow
def test_the_three_real_benchmarks(shell):
    hub = os.environ.get("MBT_TEST_HUB")
    if not hub:
        pytest.skip("MBT_TEST_HUB names no folder with real benchmark rows, laid out like the Hub")
    (line,) = [c for c in readme_commands() if c.startswith(HUB)]
    result = shell(line.replace("path/to/hub", hub))
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    for dataset in ("hotpotqa", "musique", "2wikimultihopqa"):
        assert re.search(rf"│ {dataset} +│ tiny__mbt-r ", result.stdout.decode())
    query = (
        "select count(*) as rows, count(q.question_id) as joined, count(distinct q.tier) as tiers "
        "from answer_scores s left join validation_questions q using (dataset, question_id)"
    )
    counted = shell(f'./mbt sql "{query}" --study embedded-hub --format csv')
    rows, joined, tiers = pl.read_csv(counted.stdout).row(0)
    assert (rows, joined, tiers) == (600, 600, 3)


@pytest.mark.slow
def test_a_second_run_reuses_everything_and_says_so(shell):
    result = shell("./mbt demo")
    assert result.returncode == 0
    closing = result.stderr.decode().splitlines()[-5:]
    assert any(re.fullmatch(r"\d+ reused in \d+ s", line) for line in closing), closing


AES = "select dataset || '|' || variant as cell, aes from aes order by all"


def scores(shell):
    return dict(pl.read_csv(shell(f'./mbt sql "{AES}" --format csv').stdout).iter_rows())


SENSOR = "rescore_on_checkpoint_change"


def tick_messages(instance):
    """What the ticks of the re-scoring sensor said, in order, repetitions left out."""
    said = [tick.skip_reason or tick.cursor for tick in ticks_of(instance) if tick.skip_reason or tick.cursor]
    return [line for i, line in enumerate(said) if i == 0 or line != said[i - 1]]


def ticks_of(instance):
    """The ticks of the re-scoring sensor, the first one first."""
    (state,) = [found for found in instance.all_instigator_state() if found.instigator_name == SENSOR]
    return list(reversed(instance.get_ticks(state.instigator_origin_id, state.selector_id)))


@pytest.mark.slow
def test_a_variant_that_is_trained_again_rescores_its_cells_by_itself(clone, shell):
    """With web server and daemon running: its cells and only those, in order, and then the marts."""
    file = clone / "partitions" / "studies" / "embedded.yaml"
    study = yaml.safe_load(file.read_text())
    study["sft"]["by_mode"]["mbt-s"] = {"trl": {"max_steps": 120}}
    study["limits"].update(rescore_interval_s=5)
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    before, ours = scores(shell), {f"{dataset}|tiny__mbt-s" for dataset in ("trails", "trails-wide")}
    with (
        serving_ui(["./mbt", "ui"], cwd=clone, env=shell.environment) as ui,
        dg.DagsterInstance.from_config(str(clone / ".mbt" / "embedded" / "dagster")) as instance,
    ):
        ui.start_sensor(SENSOR)
        assert ui.run("train", "tiny__mbt-s", timeout=400) == "SUCCESS"

        def changed():
            now = scores(shell)
            return now if all(now[cell] != before[cell] for cell in ours) else None

        after = wait_for(changed, 400, "another AES of both cells")
        quiet = "0 checkpoints changed, 0 cells requested, 0 waiting"
        wait_for(lambda: tick_messages(instance)[-1] == quiet, 60, "a quiet tick")
        runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/sensor_name": SENSOR}))
        said = tick_messages(instance)
        logged = [
            record["msg"].rpartition(" - ")[2]
            for tick in ticks_of(instance)
            if tick.run_ids
            for record in get_instigation_log_records(instance, tick.log_key)
        ]
    assert {cell for cell in after if after[cell] != before[cell]} == ours
    made = [(run.job_name, run.tags["dagster/partition"]) for run in reversed(runs)]
    assert made[0] == ("register_checkpoint", "tiny__mbt-s")
    assert sorted(made[1:]) == [("score_cell", cell) for cell in sorted(ours)]
    assert "1 checkpoint changed, 1 registration requested, 0 cells requested, 2 waiting" in said, said
    assert "1 checkpoint changed, 2 cells requested, 0 waiting" in said, said
    attempts = [line for line in logged if line.endswith(", attempt 1")]
    assert attempts[0] == "register_checkpoint tiny__mbt-s, attempt 1"
    assert sorted(attempts[1:]) == sorted(f"score_cell {cell}, attempt 1" for cell in ours)
