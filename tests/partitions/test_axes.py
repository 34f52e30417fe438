"""The Dagster mappings say the same as the plain grid, for every edge of every packaged study, both ways.

Where rows are published, the grid has fewer edges: Dagster's stay those of the study without that.
"""

from collections import defaultdict

import dagster as dg
import pytest

from partitions.axes import Axes
from partitions.grid import Grid, Node
from partitions.study_file import load_study, packaged_studies


def graph_of(axes):
    """The study's graph as Dagster resolves it, from specs alone."""
    specs = [
        dg.AssetSpec(name, partitions_def=axes.partitions_of(name), deps=axes.deps_of(name)) for name in Grid.ASSETS
    ]
    return dg.Definitions(assets=specs).resolve_asset_graph()


def upstream(graph, child, parent, key):
    """Parent keys of one partition, as the UI's "upstream partitions" are found."""
    definition, parent_definition = graph.get(child).partitions_def, graph.get(parent).partitions_def
    mapping = graph.get_partition_mapping(key=child, parent_asset_key=parent)
    subset = definition.subset_with_partition_keys([key]) if definition else None
    result = mapping.get_upstream_mapped_partitions_result_for_partitions(
        downstream_partitions_subset=subset,
        downstream_partitions_def=definition,
        upstream_partitions_def=parent_definition,
    )
    return set(result.partitions_subset.get_partition_keys())


def downstream(graph, parent, child, key):
    definition, parent_definition = graph.get(child).partitions_def, graph.get(parent).partitions_def
    mapping = graph.get_partition_mapping(key=child, parent_asset_key=parent)
    subset = parent_definition.subset_with_partition_keys([key])
    found = mapping.get_downstream_partitions_for_partitions(
        upstream_partitions_subset=subset,
        upstream_partitions_def=parent_definition,
        downstream_partitions_def=definition,
    )
    return set(found.get_partition_keys())


@pytest.fixture(scope="module", params=packaged_studies())
def study(request):
    return load_study(request.param)


@pytest.fixture(scope="module")
def axes(study):
    return Axes(study.model_copy(update={"published": {}}))


@pytest.fixture(scope="module")
def graph(axes):
    return graph_of(axes)


def edges(axes, graph):
    for child in Grid.ASSETS:
        for dep in axes.deps_of(child):
            parent = dep.asset_key
            if (
                graph.get(parent).partitions_def is not None
                and graph.get(dg.AssetKey(child)).partitions_def is not None
            ):
                yield dg.AssetKey(child), parent


def test_published_rows_take_edges_away_and_add_none(study, axes):
    grid = Grid(study)
    assert set(grid.nodes) <= set(axes.grid.nodes)
    for node in axes.grid.nodes:
        usual = axes.grid.parents(node)
        published = str(node) in study.published
        assert grid.parents(node) == ([Node("train_questions", node.key.split("|")[0])] if published else usual)
        assert set(grid.parents(node)) <= set(usual)


def test_keys_are_those_of_the_grid(axes):
    for asset in Grid.ASSETS:
        definition = axes.partitions_of(asset)
        keys = definition.get_partition_keys() if definition else [""]
        assert sorted(keys) == sorted(axes.grid.keys(asset))


def test_a_cell_s_key_is_dataset_then_variant(axes):
    first = axes.partitions_of("cell_metrics").get_partition_keys()[0]
    assert first.split("|")[0] in axes.grid.datasets
    assert first.split("|")[1] in axes.grid.variants


def test_upstream_partitions_are_those_of_the_grid(axes, graph):
    for child, parent in edges(axes, graph):
        for key in axes.grid.keys(child.path[-1]):
            expected = {n.key for n in axes.grid.parents(Node(child.path[-1], key)) if n.asset == parent.path[-1]}
            assert upstream(graph, child, parent, key) == expected, (str(child), key, str(parent))


def test_downstream_partitions_are_those_of_the_grid(axes, graph):
    children = defaultdict(set)
    for node in axes.grid.nodes:
        for parent in axes.grid.parents(node):
            children[parent, node.asset].add(node.key)
    for child, parent in edges(axes, graph):
        for key in axes.grid.keys(parent.path[-1]):
            expected = children[Node(parent.path[-1], key), child.path[-1]]
            assert downstream(graph, parent, child, key) == expected, (str(parent), key, str(child))


def test_every_parent_exists_and_comes_first(axes):
    seen = set()
    for node in axes.grid.nodes:
        assert set(axes.grid.parents(node)) <= seen, str(node)
        seen.add(node)


def test_the_paper_s_lineage_where_it_is_easy_to_get_wrong():
    grid = Grid(load_study("paper"))
    # No training question may stand in any of them.
    held_out = {f"validation_questions[{dataset}]" for dataset in ("hotpotqa", "musique", "2wikimultihopqa")}

    def parents(asset, key):
        return {str(parent) for parent in grid.parents(Node(asset, key))}

    assert parents("training_sets", "hotpotqa|qwen3-4b__direct-r") == held_out | {
        "rewritten_traces[hotpotqa|gpt-oss-120b__mbt-r]",
        "train_questions[hotpotqa]",
    }
    assert parents("rewritten_traces", "hotpotqa|gpt-oss-120b__mbt-r") == {
        "train_rollouts[hotpotqa|gpt-oss-120b__base]",
        "gold_solutions[hotpotqa]",
        "train_questions[hotpotqa]",
    }
    assert parents("grpo_checkpoints", "qwen3-4b__mbt-r-grpo") == held_out | {
        "sft_checkpoints[qwen3-4b__mbt-r]",
        "base_models[qwen3-4b__base]",
        "train_questions[hotpotqa]",
    }
    grpo = {"base_models[qwen3-4b__base]", "train_questions[hotpotqa]"}
    assert parents("grpo_checkpoints", "qwen3-4b__grpo") == held_out | grpo
