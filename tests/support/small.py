"""A small study that runs in seconds on the rule-based models alone."""

from jobs.plan import final_nodes, slice_of, units
from jobs.runner import Runner
from mbt_assets.cli.instance import ready_home
from mbt_assets.definitions import build_platform

SMALL = """
name: small
datasets:
  trails: {benchmark: trails, train: {name: train, limit: 12}, validation: {name: validation, limit: 12}}
  wide: {benchmark: trails, validation: {name: validation, limit: 8}, options: {distractor_chains: 2}}
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
    modes: [base]
  rule-judge:
    role: judge
    source: {kind: rules}
    server: {kind: rules, name: rule-judge}
teacher: rule-teacher
judges: [rule-judge]
sampling: {max_tokens: 256}
resamples: 200
"""


def teacher_units(platform):
    """All that the teacher's own cells need: real requests over HTTP, and no torch."""
    grid = platform.axes.grid
    return units(grid, slice_of(grid, variants={"rule-teacher__base"}) | final_nodes())


def run(platform, planned, **options):
    ready_home(platform.home)
    runner = Runner(platform.axes.grid, platform.artifacts, platform.home, build_platform)
    return {report.unit.name: report for report in runner.run(planned, **options)}
