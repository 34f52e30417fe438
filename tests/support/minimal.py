"""The least that a study file can say, to be changed by the test that needs more."""

MINIMAL = """
name: small
datasets:
  trails: {benchmark: trails}
training_datasets: [trails]
models:
  tiny:
    role: student
    source: {kind: embedded}
    server: {kind: student}
    modes: [base, mbt-s]
  rule-teacher:
    role: teacher
    source: {kind: rules}
    server: {kind: rules, name: rule-teacher}
teacher: rule-teacher
judges: [rule-teacher]
"""


def line_of(text, part):
    """The number of the first line with `part`."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)
