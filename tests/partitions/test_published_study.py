"""What a study may say of rows that come from the Hub, and what the grid makes of it."""

import pytest
from minimal import MINIMAL, line_of

from partitions.grid import Grid, Node
from partitions.published import COLUMNS
from partitions.study_file import StudyError, load_study, parse_study

REWRITES = "published:\n  synthesized_traces[trails|rule-teacher__mbt-s]: {repo: us/mbt-s, config: trails}\n"
TRACES = Node("synthesized_traces", "trails|rule-teacher__mbt-s")


def test_a_published_partition_needs_the_questions_alone():
    usual, grid = Grid(parse_study(MINIMAL)), Grid(parse_study(MINIMAL + REWRITES))
    assert grid.published(TRACES).repo == "us/mbt-s"
    assert (usual.published(TRACES), grid.published(Node("gold_solutions", "trails"))) == (None, None)
    rollouts = "published: {'train_rollouts[trails|tiny__base]': {repo: us/rollouts}}\n"
    drafts = Node("train_rollouts", "trails|tiny__base")
    assert usual.parents(drafts) == [Node("train_questions", "trails"), Node("base_models", "tiny__base")]
    assert Grid(parse_study(MINIMAL + rollouts)).parents(drafts) == [Node("train_questions", "trails")]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("synthesized_traces[trails", "training_sets[trails", "cannot come from the Hub: only those of train_rollouts"),
        ("synthesized_traces[trails|rule-teacher__mbt-s]", "gold", "rows of 'gold' cannot come from the Hub"),
        ("rule-teacher__mbt-s", "tiny__mbt-s", "it has: synthesized_traces[trails|rule-teacher__mbt-s]"),
        ("synthesized_traces[trails", "synthesized_traces[musique", "is no partition of this study"),
        ("[trails|", "[", "is no partition of this study"),
        ("config: trails", "columns: {text: t}", "'text' is no column of synthesized_traces that is read; those are:"),
        ("repo: us/mbt-s, ", "", "Field required"),
        ("config: trails", "colums: {}", "Extra inputs"),
    ],
)
def test_an_entry_that_fits_no_partition_is_refused_with_its_line(old, new, why):
    text = MINIMAL + REWRITES.replace(old, new, 1)
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.yaml")
    message = str(caught.value)
    assert f"my.yaml:{line_of(text, 'published:') + 1}: published." in message
    assert why in message


def test_the_paper_s_published_rows_stand_for_all_that_a_model_would_be_asked_to_train_on():
    study, paper = load_study("paper-published"), load_study("paper")
    grid = Grid(study)
    assert {node for node in grid.nodes if grid.published(node)} == {
        node for node in Grid(paper).nodes if node.asset in COLUMNS
    }
    assert study.model_copy(update={"name": "paper", "published": {}, "description": paper.description}) == paper
    drafts, rewrites = (
        study.published[f"{table}[hotpotqa|qwen3-1.7b__{mode}]"]
        for table, mode in (("train_rollouts", "base"), ("rewritten_traces", "distill-r"))
    )
    assert (drafts.repo.split("/")[1], drafts.config, drafts.split) == ("rollouts-hotpotqa", "Qwen3-1.7B", "train")
    assert (rewrites.repo.split("/")[1], rewrites.config) == ("distill-r-hotpotqa", "Qwen3-1.7B")
