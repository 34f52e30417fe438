"""How every command behaves towards people, shells and scripts: help, exit codes, JSON, colours, pipes, completion."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from mbt_assets.cli.examples import EXAMPLES
from mbt_assets.cli.main import app
from partitions.grid import Node

ROOT = Path(__file__).parents[2]
COLOUR = re.compile(rb"\x1b\[[0-9;]*(3[0-7]|9[0-7]|4[0-7])[0-9;]*m")
MOVES = (b"\x1b[?25l", b"\x1b[2K", b"\r\x1b")
"""What a bar or a spinner sends to a terminal."""


def commands(group=None, prefix=""):
    """Every command by its full name."""
    found = {}
    for name, command in (group or get_command(app)).commands.items():
        full = f"{prefix}{name}"
        found |= commands(command, f"{full} ") if hasattr(command, "commands") else {full: command}
    return found


def options(command):
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def environment(**given):
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "MBT_STUDY")}
    return {**kept, "TERM": "xterm-256color", **given}


def mbt(*arguments, **given):
    command = [sys.executable, "-m", "mbt_assets.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment(**given), timeout=120)


class Terminal:
    """A command whose stdout and stderr are a terminal."""

    def __init__(self, *arguments, **given):
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "mbt_assets.cli.main", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment(**given))
        os.close(theirs)
        self.seen = b""

    def read_to(self, words=None):
        """All that was written up to the first time that these words came, or to the end."""
        while (words is None or words not in self.seen) and select.select([self.ours], [], [], 120)[0]:
            try:
                self.seen += os.read(self.ours, 65536)
            except OSError:  # the last writer has closed it
                break
        return self.seen

    def end(self):
        """The exit code, once all was read."""
        self.read_to()
        os.close(self.ours)
        return self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def small(made, small_study, tmp_path_factory):
    """Home and study of the small study, whose teacher cells are made, as variables."""
    platform, _ = made
    file = tmp_path_factory.mktemp("study") / "small.yaml"
    file.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    return {"MBT_HOME": str(platform.home.root), "MBT_STUDY": str(file)}


@pytest.mark.parametrize(("name", "command"), commands().items(), ids=list(commands()))
def test_each_command_explains_itself_and_ends_in_an_example_that_can_be_typed(name, command):
    assert command.help, f"say in the docstring of {name} what it does"
    assert name in EXAMPLES, f"give {name} an example in mbt_assets/cli/examples.py"
    words = shlex.split(EXAMPLES[name])
    assert words[: 1 + len(name.split())] == ["mbt", *name.split()]
    unknown = {word for word in words if word.startswith("-")} - options(command)
    assert not unknown, f"{name} has no {unknown}"
    assert EXAMPLES[name] in (command.epilog or "")


def test_no_example_is_of_a_command_that_is_gone():
    assert set(EXAMPLES) == set(commands())


def test_a_mistyped_command_is_answered_with_the_nearest():
    result = mbt("statsu")
    assert result.returncode == 2
    assert b"Did you mean 'status'" in result.stderr


def test_a_mistake_ends_with_2_and_one_message(tmp_path):
    result = mbt("report", MBT_HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (2, b"")
    message = result.stderr.decode()
    assert message.startswith("error: the study embedded has no report yet")
    assert "mbt demo" in message
    assert "Traceback" not in message


def test_an_interrupt_ends_with_130_and_no_stack_trace(small):
    query = "select sum(sin(a.range * b.range)) from range(10000000) a, range(1000000) b"
    terminal = Terminal("sql", query, **small)
    terminal.read_to(b"asking the warehouse")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.seen


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_reader_that_leaves_is_no_fault(small, format):
    command = [sys.executable, "-m", "mbt_assets.cli.main", "sql", "select * from range(3000)", "-f", format]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**small)) as process:
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(timeout=120) in (0, 1)
    assert told == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "show"],
        ["study", "validate", "partitions/studies/paper.yaml"],
        ["servers"],
        ["tables", "--no-figures", "--only", "aes", "--out", "TMP"],
        ["export", "TMP/out.duckdb", "--tables", "aes"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_json_is_one_document_on_stdout(small, arguments, tmp_path):
    result = mbt(*(word.replace("TMP", str(tmp_path)) for word in arguments), "--json", **small)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) is not None
    assert result.stdout.count(b"\n") == 1 or arguments == ["study", "show"]


def test_a_pipe_gets_no_codes_and_a_forced_log_colours_alone(tmp_path):
    assert b"\x1b" not in mbt("study", "show").stdout
    forced = mbt("status", MBT_HOME=str(tmp_path), FORCE_COLOR="1")
    assert COLOUR.search(forced.stdout)
    assert forced.stderr == b"", "nobody watches: nothing is told of progress"
    assert not any(code in forced.stdout for code in MOVES)


def test_a_terminal_shows_that_something_goes_on(tmp_path):
    terminal = Terminal("status", MBT_HOME=str(tmp_path))
    assert terminal.end() == 0
    assert b"loading the graph" in terminal.seen
    assert MOVES[0] in terminal.seen
    assert COLOUR.search(terminal.seen)


@pytest.mark.parametrize(
    ("before", "given"), [([], {"NO_COLOR": "1"}), (["--no-color"], {}), ([], {"TERM": "dumb"})], ids=str
)
def test_colours_can_be_left_out(tmp_path, before, given):
    terminal = Terminal(*before, "study", "show", MBT_HOME=str(tmp_path), **given)
    assert terminal.end() == 0
    seen = terminal.seen
    assert b"variants" in seen
    assert not COLOUR.search(seen)
    assert "TERM" not in given or b"\x1b" not in seen


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mbt sql --study pap", {"paper", "paper-published"}),
        ("mbt demo --study paper --variant qwen3-4b__mbt-s", {"qwen3-4b__mbt-s", "qwen3-4b__mbt-s-grpo"}),
        ("mbt import rollouts x --model gpt-oss-120b --study paper --mode ", {"base"}),
        ("mbt tables --only main,r", {"main,rrp"}),
    ],
)
def test_a_shell_completes_names_of_the_study(line, offered):
    words = str(len(shlex.split(line)) - (not line.endswith(" ")))
    variables = environment(_MBT_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=words)
    program = "import sys; sys.argv = ['mbt']; from mbt_assets.cli.main import app; app(prog_name='mbt')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, env=variables, cwd=ROOT, timeout=60)
    assert set(result.stdout.decode().split()) == offered, result.stderr


def test_help_and_completion_do_not_wait_for_the_graph():
    program = "import sys, mbt_assets.cli.main; print({'dagster', 'torch', 'kubernetes'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, timeout=60) == b"set()\n"


def test_the_docs_name_every_command_with_json():
    page = (ROOT / "docs/command-line.md").read_text()
    listed = page.partition("These commands have it:")[2].split("\n\n")[1]
    assert re.findall(r"`([^`]+)`", listed) == sorted(
        name for name, command in commands().items() if "--json" in options(command)
    )
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == ["0", "1", "2", "130"]


def test_the_docs_name_every_variable_and_no_other():
    code = [
        path for folder in ("mbt_assets", "resources", "partitions", "jobs") for path in (ROOT / folder).rglob("*.py")
    ]
    read = {name for path in code for name in re.findall(r'"(MBT_[A-Z_]+)"', path.read_text())}
    documented = set(re.findall(r"^\| `(MBT_[A-Z_]+)`", (ROOT / "docs/environment.md").read_text(), re.MULTILINE))
    assert read == documented


def test_the_newest_report_is_copied_to_where_it_is_wanted(small, made, tmp_path):
    platform, _ = made
    copy = tmp_path / "report.html"
    result = mbt("report", "--out", copy, "--json", **small)
    told = json.loads(result.stdout)
    assert (told["path"], told["state"]) == (str(copy), "fresh")
    assert copy.read_bytes() == platform.artifacts.files["report"].read_bytes()
    assert told["bytes"] == copy.stat().st_size
    assert result.stderr == b""


def test_a_copy_of_the_report_replaces_nothing_but_a_report(small, made, tmp_path):
    platform, _ = made
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    rows = platform.artifacts.lake.path(Node("validation_questions", "trails"))
    refusals = {notes: "is no report", rows: "keep their own files", tmp_path / "not" / "there.html": "is no folder"}
    for target, words in refusals.items():
        result = mbt("report", "--out", target, **small)
        assert result.returncode == 2
        assert words in " ".join(result.stderr.decode().replace("│", " ").split())
    assert notes.read_text() == "mine"
    assert not (tmp_path / "not").exists()
    assert mbt("report", "--out", notes, "--force", **small).returncode == 0
    assert mbt("report", "--out", notes, **small).returncode == 0, "an earlier report is replaced"


def test_an_outdated_report_says_so(small, small_study, tmp_path):
    changed = small_study.model_dump(mode="json") | {"resamples": 100}
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(changed, sort_keys=False))
    result = mbt("report", "--json", **small | {"MBT_STUDY": str(file)})
    assert json.loads(result.stdout)["state"] == "stale"
    assert result.stderr.decode().startswith("Outdated: ")
