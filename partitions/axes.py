"""The grid as Dagster partitions: one definition per axis, and the mapping of every edge.

Every two-dimensional asset names its axes `dataset` and `variant`; Dagster sorts dimensions by name, so a key
reads `dataset|variant`. Built-in mappings only, so that lineage is exact in the UI.
"""

from __future__ import annotations

from functools import cached_property

import dagster as dg

from partitions.grid import CELL_FIGURES, MARTS, SCORES, Grid
from partitions.study import Study

Pairs = list[tuple[str, str]]


def static_mapping(pairs: Pairs) -> dg.StaticPartitionMapping:
    """(upstream key, downstream key) pairs as one mapping; a key without a pair has no counterpart."""
    downstream: dict[str, set[str]] = {}
    for up, down in pairs:
        downstream.setdefault(up, set()).add(down)
    return dg.StaticPartitionMapping({up: sorted(keys) for up, keys in downstream.items()})


def between_grids(pairs: Pairs) -> dg.MultiPartitionMapping:
    """Between two dataset × variant grids: the same dataset, variants by `pairs`."""
    return dg.MultiPartitionMapping(
        {
            "dataset": dg.DimensionPartitionMapping("dataset", dg.IdentityPartitionMapping()),
            "variant": dg.DimensionPartitionMapping("variant", static_mapping(pairs)),
        }
    )


class Axes:
    """Partitions definitions and dependencies of every asset of a study."""

    def __init__(self, study: Study):
        self.grid = Grid(study)

    @cached_property
    def _dimensions(self) -> dict[tuple[str, ...], dg.StaticPartitionsDefinition]:
        return {}

    def _dimension(self, keys: list[str]) -> dg.StaticPartitionsDefinition:
        # Equal axes share one object, so that Dagster infers the edge between assets on the same axis.
        return self._dimensions.setdefault(tuple(keys), dg.StaticPartitionsDefinition(keys))

    def partitions_of(self, asset: str) -> dg.PartitionsDefinition | None:
        """The partitions definition of an asset; None where it has no partitions."""
        datasets, variants = self.grid.axes_of(asset)
        if datasets is not None and variants is not None:
            axes = {"dataset": self._dimension(datasets), "variant": self._dimension(variants)}
            return dg.MultiPartitionsDefinition(axes)
        keys = datasets if datasets is not None else variants
        return None if keys is None else self._dimension(keys)

    def deps_of(self, asset: str) -> list[dg.AssetDep]:
        """What an asset is made from, with the mapping of each edge."""
        if asset in SCORES:
            return [dg.AssetDep("validation_rollouts"), dg.AssetDep("validation_questions")]
        if asset in MARTS:
            return [dg.AssetDep(figures) for figures in CELL_FIGURES]
        return list(self._deps.get(asset, []))

    @cached_property
    def _deps(self) -> dict[str, list[dg.AssetDep]]:
        grid = self.grid
        dep = dg.AssetDep
        questions = dep("train_questions")
        held_out = dep("validation_questions", partition_mapping=dg.AllPartitionMapping())
        return {
            "train_rollouts": [questions, dep("base_models")],
            "gold_solutions": [questions],
            "synthesized_traces": [questions],
            "rewritten_traces": [
                dep("train_rollouts", partition_mapping=between_grids(grid.rewrite_pairs())),
                dep("gold_solutions"),
                questions,
            ],
            "training_sets": [
                *(
                    dep(table, partition_mapping=between_grids(grid.source_pairs(table)))
                    for table in ("train_rollouts", "synthesized_traces", "rewritten_traces")
                ),
                questions,
                held_out,
            ],
            "sft_checkpoints": [
                dep("training_sets"),
                dep("base_models", partition_mapping=static_mapping(grid.base_pairs(grid.trained))),
            ],
            "grpo_checkpoints": [
                dep("sft_checkpoints", partition_mapping=static_mapping(grid.grpo_parent_pairs())),
                dep("base_models", partition_mapping=static_mapping(grid.base_pairs(grid.grpo))),
                dep("train_questions", partition_mapping=dg.AllPartitionMapping()),
                held_out,
            ],
            "checkpoints": [
                dep("sft_checkpoints", partition_mapping=static_mapping([(v, v) for v in grid.trained])),
                dep("grpo_checkpoints", partition_mapping=static_mapping([(v, v) for v in grid.grpo])),
                dep("base_models", partition_mapping=static_mapping(grid.base_pairs(grid.variants))),
            ],
            "validation_rollouts": [dep("validation_questions"), dep("checkpoints")],
            "judge_retests": [
                dep("validation_rollouts"),
                dep("validation_questions"),
                *(dep(table) for table in SCORES[1:]),
            ],
            "cell_estimates": [*(dep(score) for score in SCORES), dep("validation_questions")],
            "judge_reliability": [*(dep(score) for score in SCORES), dep("judge_retests")],
            "cell_metrics": [dep("cell_estimates"), dep("answer_scores")],
            "warehouse": [dep(mart) for mart in MARTS],
            "report": [dep("warehouse")],
        }
