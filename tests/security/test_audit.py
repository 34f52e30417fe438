"""`.ci/audit`, with what pip-audit says replaced: which findings keep a change from landing."""

import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
FINDING = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}
SOUND = {"name": "polars", "version": "2.1.0", "vulns": []}
FOUND = {"name": "torch", "version": "2.0", "vulns": [FINDING]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.0)"}
LATER, EARLIER = date.today() + timedelta(days=30), date.today() - timedelta(days=1)


@pytest.fixture
def audit(tmp_path):
    """Runs the program with answers of services, and accepted findings."""

    def run(answers, accepted=""):
        (tmp_path / "pip_audit.py").write_text(
            f"import sys\nprint({answers!r}.get(sys.argv[sys.argv.index('-s') + 1], 'no connection'))"
        )
        (tmp_path / "audit.toml").write_text(accepted)
        command = [sys.executable, str(AUDIT), str(tmp_path / "pins"), str(tmp_path / "audit.toml")]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def answer(*dependencies):
    return json.dumps({"dependencies": list(dependencies)})


def accepted(**changes):
    entry = {"id": "CVE-1", "package": "torch", "why": "not called here", "until": LATER} | changes
    lines = (f"{key} = {value if isinstance(value, date) else json.dumps(value)}" for key, value in entry.items())
    return "[[accepted]]\n" + "\n".join(lines)


def test_nothing_known_passes(audit):
    done = audit({"pypi": answer(SOUND)})
    assert (done.returncode, done.stdout) == (0, "audit: 1 packages asked for at pypi, 0 findings, 0 not accepted\n")


def test_a_finding_fails_and_says_what_to_do(audit):
    done = audit({"pypi": answer(SOUND, FOUND)})
    assert done.returncode == 1
    assert "torch 2.0 has PYSEC-1 = CVE-1, fixed in 2.1: raise the pin" in done.stderr


def test_an_accepted_finding_passes_and_is_told_with_its_reason(audit):
    done = audit({"pypi": answer(FOUND)}, accepted())
    assert done.returncode == 0
    assert "not called here" in done.stdout


@pytest.mark.parametrize("changes", [{"until": EARLIER}, {"package": "other"}, {"id": "CVE-2"}])
def test_what_was_accepted_for_another_or_until_yesterday_is_not(audit, changes):
    assert audit({"pypi": answer(FOUND)}, accepted(**changes)).returncode == 1


def test_an_entry_without_a_reason_is_refused(audit):
    done = audit({"pypi": answer(SOUND)}, accepted(why=""))
    assert done.returncode == 1
    assert "the entry CVE-1 lacks why" in done.stderr


def test_the_next_service_is_asked_where_the_first_knows_nothing(audit):
    done = audit({"pypi": answer(SKIPPED), "osv": answer(FOUND)})
    assert done.returncode == 1
    assert "at osv" in done.stdout


@pytest.mark.parametrize("answers", [{}, {"pypi": answer(SKIPPED)}], ids=["no connection", "every package skipped"])
def test_where_no_service_can_be_reached_it_says_that_nothing_was_done(audit, answers):
    done = audit(answers)
    assert done.returncode == 0
    assert "NOT DONE: no service that knows vulnerabilities can be reached" in done.stderr
