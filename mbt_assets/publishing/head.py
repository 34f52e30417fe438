"""The head of a card: what the Hub and `datasets` read of a folder, as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from huggingface_hub import DatasetCardData

from mbt_assets.publishing.choice import DEFAULT, SPLITS, Kind
from mbt_assets.publishing.columns import arrow_schema
from mbt_assets.publishing.licences import card_licence, terms_of
from mbt_assets.publishing.made import Config, Made
from mbt_assets.publishing.markdown import visible

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
"""The Hub's words for numbers of rows, each up to ten times the one before."""
TASKS: dict[Kind, list[str]] = {
    "training-sets": ["text-generation", "question-answering"],
    "rollouts": ["question-answering"],
}
TAGS: dict[Kind, list[str]] = {
    "training-sets": ["fine-tuning", "synthetic"],
    "rollouts": ["evaluation", "llm-as-a-judge", "synthetic"],
}
TITLES: dict[Kind, str] = {"training-sets": "Training sets", "rollouts": "Scored rollouts"}


def head(made: Made) -> str:
    """Licence, language, size, tasks, tags, configurations and columns."""
    kind, terms = made.selection.kind, terms_of(made.study, made.datasets)
    data = DatasetCardData(
        language=sorted({one.language for one in terms}),
        pretty_name=visible(title(made)),
        size_categories=[size_category(made.rows)],
        task_categories=TASKS[kind],
        tags=["mbt-assets", "metacognition", "reasoning", *TAGS[kind]],
        configs=_configs(made),
    )
    for name, value in card_licence(terms).items():
        data[name] = value
    _describe(data, made)
    return str(data.to_yaml()).strip()


def title(made: Made) -> str:
    """What the data set is called."""
    return f"{TITLES[made.selection.kind]} of the study {made.study.name}"


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    return next((name for power, name in enumerate(SIZES, start=3) if rows < 10**power), "n>1B")


def _configs(made: Made) -> list[dict[str, Any]]:
    split = SPLITS[made.selection.kind]
    every: dict[str, Any] = {
        "config_name": DEFAULT,
        "data_files": [{"split": split, "path": f"*/{split}-*"}],
        "default": True,
    }
    return [
        every,
        *(
            {"config_name": one.name, "data_files": [{"split": split, "path": f"{one.name}/{split}-*"}]}
            for one in made.configs
        ),
    ]


def _describe(data: DatasetCardData, made: Made) -> None:
    """Add `dataset_info`: columns, numbers of rows, and sizes."""
    # Slow to import, and nothing else needs it.
    from datasets import Features
    from datasets.info import DatasetInfosDict

    # All have the same columns: said once, so that the head of a hundred configurations is quick to read.
    features = Features.from_arrow_schema(arrow_schema(made.columns))
    infos = {DEFAULT: _info(DEFAULT, made.configs, made, features)}
    infos |= {one.name: _info(one.name, [one], made) for one in made.configs}
    DatasetInfosDict(infos).to_dataset_card_data(data)
    described = data["dataset_info"]
    data["dataset_info"] = [{name: value for name, value in one.items() if value is not None} for one in described]


def _info(name: str, configs: Iterable[Config], made: Made, features: Any = None) -> Any:
    from datasets import DatasetInfo
    from datasets.splits import SplitDict, SplitInfo

    parts, split = list(configs), SPLITS[made.selection.kind]
    size = sum(one.data_bytes for one in parts)
    counted = SplitInfo(split, num_bytes=size, num_examples=sum(one.rows for one in parts))
    files = sum(one.file_bytes for one in parts)
    splits = SplitDict({split: counted}, dataset_name=name)
    return DatasetInfo(features=features, splits=splits, download_size=files, dataset_size=size)
