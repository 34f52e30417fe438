"""The study's grid as plain data: each asset's partition keys, and which partitions each key is made from.

Pure functions of the study: the planner, the status table and the Dagster axes all read the graph from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

from partitions.modes import MODES, REWRITES
from partitions.study import Published, Study, base_of, split_variant, variant

MARTS = ("main_results", "aes", "rrp_profile", "mqi", "degeneration", "significance", "judge_quality", "cost")
SCORES = ("answer_scores", "judge_verdicts", "answer_hits", "rrp_scores", "mqi_scores")
CELL_SQL = ("cell_estimates", "judge_reliability", "cell_metrics")
"""What SQL makes of one cell's scores; the last of them comes last."""
RETESTS = "judge_retests"
"""A sample of what the judges scored, judged a second time."""
CELL_FIGURES = (*SCORES, RETESTS, *CELL_SQL)
"""What marts are made from; they show the cells that there are."""
CELL_ASSETS = ("validation_rollouts", *CELL_FIGURES)
"""What one cell consists of."""
TRAINED_TABLES = {"sft": "sft_checkpoints", "grpo": "grpo_checkpoints"}
"""For each kind of mode that trains, the table of what it makes."""
WHOLE = ""
"""The key of an asset without partitions."""


@dataclass(frozen=True, order=True)
class Node:
    """One partition of one asset; `key` is empty for an asset without partitions."""

    asset: str
    key: str = WHOLE

    def __str__(self) -> str:
        return f"{self.asset}[{self.key}]" if self.key else self.asset


def cell_key(dataset: str, slug: str) -> str:
    """The partition key of a dataset × variant."""
    return f"{dataset}|{slug}"


def split_key(key: str) -> tuple[str, str]:
    """Dataset and variant of a two-dimensional key."""
    dataset, _, slug = key.partition("|")
    return dataset, slug


def registry_origin(slug: str) -> Node | None:
    """The partition that a variant's registry row is taken from; None for an external checkpoint."""
    model, mode = split_variant(slug)
    kind = MODES[mode].kind
    if kind == "external":
        return None
    table = TRAINED_TABLES.get(kind)
    return Node(table, slug) if table else Node("base_models", variant(model, "base"))


class Grid:
    """All partitions of a study and the edges between them.

    Args:
        study: the study.
        imported: keys of the cells whose validation rollouts were imported: nothing is made for their sake.
    """

    def __init__(self, study: Study, imported: frozenset[str] = frozenset()):
        self.study = study
        self.imported = imported

    @cached_property
    def datasets(self) -> list[str]:
        """Datasets that are validated on."""
        return list(self.study.datasets)

    @cached_property
    def variants(self) -> list[str]:
        """Every model × mode."""
        return self.study.variants

    def _variants_of(self, *kinds: str) -> list[str]:
        return [v for v in self.variants if MODES[split_variant(v)[1]].kind in kinds]

    @cached_property
    def base(self) -> list[str]:
        """Base variants: each student's, and the teacher's."""
        names = dict.fromkeys([*(split_variant(v)[0] for v in self.variants), self.study.teacher])
        return [variant(name, "base") for name in names]

    @cached_property
    def trained(self) -> list[str]:
        """Variants that SFT makes."""
        return self._variants_of("sft")

    @cached_property
    def grpo(self) -> list[str]:
        """Variants that GRPO makes."""
        return self._variants_of("grpo")

    @cached_property
    def sources(self) -> dict[str, tuple[str, str]]:
        """For each SFT variant, the table its rows come from and that table's variant."""
        found: dict[str, tuple[str, str]] = {}
        for slug in self.trained:
            model, mode = split_variant(slug)
            spec = MODES[mode]
            rows_variant = (spec.rows_variant or "").format(model=model, teacher=self.study.teacher)
            found[slug] = (spec.rows_from or "", rows_variant)
        return found

    def _source_variants(self, table: str) -> list[str]:
        return list(dict.fromkeys(v for t, v in self.sources.values() if t == table))

    @cached_property
    def synthesis(self) -> list[str]:
        """Variants of synthesized traces: the teacher's, where a student is trained on them."""
        return self._source_variants("synthesized_traces")

    @cached_property
    def rewrites(self) -> list[str]:
        """Whose rollouts are rewritten, and how: `model__mbt-r` or `model__distill-r`."""
        return self._source_variants("rewritten_traces")

    def axes_of(self, asset: str) -> tuple[list[str] | None, list[str] | None]:
        """The dataset keys and the variant keys of an asset; None where it lacks that dimension."""
        train = self.study.training_datasets
        axes: dict[str, tuple[list[str] | None, list[str] | None]] = {
            "train_questions": (train, None),
            "validation_questions": (self.datasets, None),
            "base_models": (None, self.base),
            "train_rollouts": (train, self.base),
            "gold_solutions": (train, None),
            "synthesized_traces": (train, self.synthesis),
            "rewritten_traces": (train, self.rewrites),
            "training_sets": (train, self.trained),
            "sft_checkpoints": (None, self.trained),
            "grpo_checkpoints": (None, self.grpo),
            "checkpoints": (None, self.variants),
            "validation_rollouts": (self.datasets, self.variants),
            **dict.fromkeys(CELL_FIGURES, (self.datasets, self.variants)),
            **dict.fromkeys((*MARTS, "warehouse", "report"), (None, None)),
        }
        return axes[asset]

    ASSETS = (
        "train_questions",
        "validation_questions",
        "base_models",
        "train_rollouts",
        "gold_solutions",
        "synthesized_traces",
        "rewritten_traces",
        "training_sets",
        "sft_checkpoints",
        "grpo_checkpoints",
        "checkpoints",
        "validation_rollouts",
        *CELL_FIGURES,
        *MARTS,
        "warehouse",
        "report",
    )

    def keys(self, asset: str) -> list[str]:
        """Every partition key of an asset, in the study's order; one empty key where it has no partitions."""
        datasets, variants = self.axes_of(asset)
        if datasets is not None and variants is not None:
            return [cell_key(d, v) for d, v in product(datasets, variants)]
        if datasets is None and variants is None:
            return [WHOLE]
        return list(datasets if datasets is not None else variants or [])

    @cached_property
    def nodes(self) -> list[Node]:
        """Every partition of the study; parents come before their children."""
        every = [Node(asset, key) for asset in self.ASSETS for key in self.keys(asset)]
        weightless = not all(model.has_weights for model in self.study.models.values())
        return self._without_needless(every) if self.study.published or self.imported or weightless else every

    def _without_needless(self, every: list[Node]) -> list[Node]:
        """Leaves out what only published or imported rows would have been made from: nobody is to be asked for it."""
        usual: set[Node] = set()
        used: set[Node] = set()
        kept: list[Node] = []
        for node in reversed(every):
            if node in used or self.published(node) or (node not in usual and not self._unanswerable(node)):
                kept.append(node)
                used.update(self.parents(node))
            usual.update(self._made_from(node))
        return kept[::-1]

    def source_pairs(self, table: str) -> list[tuple[str, str]]:
        """(variant of `table`, SFT variant that trains on it)."""
        return [(v, slug) for slug, (t, v) in self.sources.items() if t == table]

    def rewrite_pairs(self) -> list[tuple[str, str]]:
        """(base variant whose rollouts are rewritten, rewrite)."""
        return [(base_of(r), r) for r in self.rewrites]

    def base_pairs(self, slugs: list[str]) -> list[tuple[str, str]]:
        """(base variant, variant) for each of `slugs`."""
        return [(base_of(v), v) for v in slugs]

    def grpo_parent_pairs(self) -> list[tuple[str, str]]:
        """(SFT variant, GRPO variant that starts from it)."""
        pairs = [(variant(m, MODES[mode].parent), v) for v in self.grpo for m, mode in [split_variant(v)]]
        return [(parent, v) for parent, v in pairs if parent in self.trained]

    def published(self, node: Node) -> Published | None:
        """The data set that holds a partition's rows; None where they are made here."""
        return self.study.published.get(str(node))

    def has_weights(self, slug: str) -> bool:
        """Whether a variant's model can be asked; otherwise its rollouts have to be imported."""
        return self.study.models[split_variant(slug)[0]].has_weights

    def awaits_import(self, cell: str) -> bool:
        """Whether the rollouts of the cell with this key cannot be made here, and were not imported yet."""
        return cell not in self.imported and not self.has_weights(split_key(cell)[1])

    def _unanswerable(self, node: Node) -> bool:
        return node.asset == "train_rollouts" and not self.has_weights(split_key(node.key)[1])

    def parents(self, node: Node) -> list[Node]:
        """The partitions that `node` is made from; rows from elsewhere need the questions that they belong to alone."""
        if self.published(node):
            return [Node("train_questions", split_key(node.key)[0])]
        if node.asset == "validation_rollouts" and (node.key in self.imported or self.awaits_import(node.key)):
            return [Node("validation_questions", split_key(node.key)[0])]
        return self._made_from(node)

    def _made_from(self, node: Node) -> list[Node]:
        finder = getattr(self, f"_parents_of_{node.asset}", None)
        if finder:
            return list(finder(node.key))
        if node.asset in SCORES:
            return [Node("validation_rollouts", node.key), Node("validation_questions", split_key(node.key)[0])]
        if node.asset in MARTS:
            return [Node(asset, key) for key in self.keys("cell_metrics") for asset in CELL_FIGURES]
        return []

    def _parents_of_train_rollouts(self, key: str) -> list[Node]:
        dataset, slug = split_key(key)
        return [Node("train_questions", dataset), Node("base_models", slug)]

    def _parents_of_gold_solutions(self, key: str) -> list[Node]:
        return [Node("train_questions", key)]

    def _parents_of_synthesized_traces(self, key: str) -> list[Node]:
        return [Node("train_questions", split_key(key)[0])]

    def _parents_of_rewritten_traces(self, key: str) -> list[Node]:
        dataset, slug = split_key(key)
        base = base_of(slug)
        rollouts = Node("train_rollouts", cell_key(dataset, base))
        return [rollouts, Node("gold_solutions", dataset), Node("train_questions", dataset)]

    @property
    def _held_out(self) -> list[Node]:
        """What no training question may stand in."""
        return [Node("validation_questions", dataset) for dataset in self.datasets]

    def _parents_of_training_sets(self, key: str) -> list[Node]:
        dataset, slug = split_key(key)
        table, rows_variant = self.sources[slug]
        return [Node(table, cell_key(dataset, rows_variant)), Node("train_questions", dataset), *self._held_out]

    def _parents_of_sft_checkpoints(self, key: str) -> list[Node]:
        sets = [Node("training_sets", cell_key(d, key)) for d in self.study.training_datasets]
        return [*sets, *(Node("base_models", base) for base, _ in self.base_pairs([key]))]

    def _parents_of_grpo_checkpoints(self, key: str) -> list[Node]:
        sft = [Node("sft_checkpoints", parent) for parent, slug in self.grpo_parent_pairs() if slug == key]
        questions = [Node("train_questions", d) for d in self.study.training_datasets]
        return [*sft, *(Node("base_models", base) for base, _ in self.base_pairs([key])), *questions, *self._held_out]

    def _parents_of_checkpoints(self, key: str) -> list[Node]:
        own = TRAINED_TABLES.get(MODES[split_variant(key)[1]].kind)
        base = [Node("base_models", base) for base, _ in self.base_pairs([key])]
        return [*([Node(own, key)] if own else []), *base]

    def _parents_of_validation_rollouts(self, key: str) -> list[Node]:
        dataset, slug = split_key(key)
        return [Node("validation_questions", dataset), Node("checkpoints", slug)]

    def _parents_of_judge_retests(self, key: str) -> list[Node]:
        asked = [Node("validation_rollouts", key), Node("validation_questions", split_key(key)[0])]
        return [*asked, *(Node(table, key) for table in SCORES[1:])]

    def _parents_of_cell_estimates(self, key: str) -> list[Node]:
        return [*(Node(score, key) for score in SCORES), Node("validation_questions", split_key(key)[0])]

    def _parents_of_judge_reliability(self, key: str) -> list[Node]:
        return [Node(score, key) for score in (*SCORES, RETESTS)]

    def _parents_of_cell_metrics(self, key: str) -> list[Node]:
        return [Node("cell_estimates", key), Node("answer_scores", key)]

    def _parents_of_warehouse(self, key: str) -> list[Node]:
        return [Node(mart) for mart in MARTS]

    def _parents_of_report(self, key: str) -> list[Node]:
        return [Node("warehouse")]

    def rewrite_template(self, slug: str) -> str:
        """The prompt template that makes a rewrite."""
        return REWRITES[split_variant(slug)[1]]
