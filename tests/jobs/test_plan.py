from jobs.plan import dependencies, final_nodes, slice_of, units
from partitions.grid import Grid, Node
from partitions.study_file import load_study

PAPER = Grid(load_study("paper"))


def names(nodes):
    return {unit.name for unit in units(PAPER, nodes)}


def test_a_variant_s_slice_brings_its_base_and_all_that_both_are_made_from():
    assert names(slice_of(PAPER, variants={"qwen3-4b__mbt-s"}, datasets={"musique"})) == {
        "train_questions[hotpotqa]",
        # Training looks at every validation split, to see that none of its questions stands there.
        *(f"validation_questions[{dataset}]" for dataset in ("hotpotqa", "musique", "2wikimultihopqa")),
        "base_models[qwen3-4b__base]",
        "synthesized_traces[hotpotqa|gpt-oss-120b__mbt-s]",
        "training_sets[hotpotqa|qwen3-4b__mbt-s]",
        "sft_checkpoints[qwen3-4b__mbt-s]",
        "checkpoints[qwen3-4b__base]",
        "checkpoints[qwen3-4b__mbt-s]",
        "cell[musique|qwen3-4b__base]",
        "cell[musique|qwen3-4b__mbt-s]",
    }


def test_a_cell_is_one_unit_in_the_order_of_its_assets():
    planned = {unit.name: unit for unit in units(PAPER, PAPER.nodes)}
    assets = [node.asset for node in planned["cell[musique|qwen3-4b__base]"].nodes]
    assert assets[0] == "validation_rollouts"
    assert assets[-1] == "cell_metrics"
    assert len(assets) == 10


def test_units_wait_for_what_they_are_made_from():
    planned = units(PAPER, slice_of(PAPER, variants={"qwen3-4b__mbt-r"}) | final_nodes())
    needs = dependencies(PAPER, planned)
    assert needs["cell[hotpotqa|qwen3-4b__mbt-r]"] == {"validation_questions[hotpotqa]", "checkpoints[qwen3-4b__mbt-r]"}
    assert needs["rewritten_traces[hotpotqa|qwen3-4b__mbt-r]"] == {
        "train_rollouts[hotpotqa|qwen3-4b__base]",
        "gold_solutions[hotpotqa]",
        "train_questions[hotpotqa]",
    }
    assert all(name.startswith("cell[") for name in needs["marts"])


def test_the_whole_study_is_138_cells_and_one_unit_of_marts():
    planned = units(PAPER, PAPER.nodes)
    assert sum(unit.name.startswith("cell[") for unit in planned) == 138
    assert [unit.name for unit in planned if Node("warehouse") in unit.nodes] == ["marts"]
