"""Every test that docs/faults.md names is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"


def test_the_fault_table_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    there = {name for file in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert named and named <= there, sorted(named - there)
