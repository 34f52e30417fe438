"""Models of which there is nothing but rollouts: what a study may say of them, and what the grid makes of it."""

import pytest
from minimal import MINIMAL

from jobs.plan import slice_of
from partitions.grid import Grid, Node
from partitions.study import Study
from partitions.study_file import StudyError, parse_study

GUEST = """  guest:
    role: student
    source: {kind: imported}
    modes: [base, limopro]
teacher:"""
TEXT = MINIMAL.replace("\nteacher:", f"\n{GUEST}", 1)
WEIGHTS = "{limopro: {source: {kind: path, path: /x}}}"
ROLLOUTS = Node("validation_rollouts", "trails|guest__limopro")


def test_such_a_model_needs_no_server():
    study = parse_study(TEXT)
    assert (study.models["guest"].server.kind, study.models["guest"].has_weights) == ("none", False)
    assert Study.model_validate_json(study.model_dump_json()) == study


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("[base, limopro]", "[base, mbt-s]", "mode 'mbt-s' trains, and 'guest' has no weights"),
        ("[base, limopro]", f"[base]\n    external: {WEIGHTS}", "has no server (source: imported) for any weights"),
        ("{kind: imported}", "{kind: imported}\n    server: {kind: student}", "that could be served: drop its server"),
        ("teacher: rule-teacher", "teacher: guest", "it cannot teach or judge"),
        ("judges: [rule-teacher]", "judges: [guest]", "it cannot teach or judge"),
        ("source: {kind: imported}", "source: {kind: hub, repo: a/b}\n    server: {kind: none}", "say who serves it"),
    ],
)
def test_what_it_cannot_do_is_refused(old, new, why):
    text = TEXT.replace(old, new, 1)
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.yaml")
    assert "my.yaml:" in str(caught.value) and "models.guest." in str(caught.value)
    assert why in str(caught.value)


def test_nothing_is_planned_for_it_but_the_cells_that_were_imported():
    study = parse_study(TEXT)
    before, after = Grid(study), Grid(study, frozenset([ROLLOUTS.key]))
    assert before.parents(ROLLOUTS) == after.parents(ROLLOUTS) == [Node("validation_questions", "trails")]
    assert {str(node) for node in slice_of(before) if "guest" in node.key} == set()
    assert {node.key for node in slice_of(after) if "guest" in node.key} == {ROLLOUTS.key}
    of_guest = {node.asset for node in after.nodes if "guest" in node.key}
    assert not of_guest & {"base_models", "checkpoints", "train_rollouts"}


def test_an_imported_cell_of_a_model_that_has_weights_needs_them_no_more():
    study = parse_study(MINIMAL)
    cell = Node("validation_rollouts", "trails|tiny__mbt-s")
    usual, grid = Grid(study), Grid(study, frozenset([cell.key]))
    assert usual.parents(cell) == [Node("validation_questions", "trails"), Node("checkpoints", "tiny__mbt-s")]
    assert grid.parents(cell) == [Node("validation_questions", "trails")]
    left_out = set(usual.nodes) - set(grid.nodes)
    assert {"checkpoints", "sft_checkpoints", "training_sets"} <= {node.asset for node in left_out}
    assert not {node for node in left_out if node.asset in ("cell_metrics", "validation_questions")}
