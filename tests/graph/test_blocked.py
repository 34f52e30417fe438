from small import run

from jobs.plan import units
from mbt_assets.definitions import build_platform
from mbt_assets.staleness import assess
from partitions.grid import Node
from resources.home import Home


def test_rows_that_a_blocking_check_refused_stay_but_never_pass_for_fresh(small_study, tmp_path):
    """Four tokens cut every reply off, so no gold solution holds a trace."""
    cut = small_study.model_copy(update={"sampling": small_study.sampling.model_copy(update={"max_tokens": 4})})
    platform = build_platform(cut, Home(tmp_path, "small"))
    grid = platform.axes.grid
    planned = units(grid, {Node("train_questions", "trails"), Node("gold_solutions", "trails")})
    for _ in range(2):
        assert run(platform, planned)["gold_solutions[trails]"].outcome == "failed"
    standing = assess(grid, platform.artifacts)[Node("gold_solutions", "trails")]
    assert (standing.state, standing.reason) == ("stale", "failed check: truncated_or_empty_traces")
    assert platform.artifacts.lake.read(Node("gold_solutions", "trails")).height == 12
