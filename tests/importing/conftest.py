import shutil

import dagster as dg
import pytest
from foreign import STUDY

from mbt_assets.definitions import build_platform
from mbt_assets.importing.files import RowFile
from mbt_assets.importing.landing import Order, import_rollouts
from partitions.grid import Node
from partitions.study_file import parse_study
from resources.home import Home

CELL = "trails|guest__limopro"


def make(platform, asset, key, **options):
    """One partition, in a Dagster run of its own in this process."""
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            platform.assets,
            selection=[dg.AssetKey(asset)],
            partition_key=key,
            instance=instance,
            resources=platform.resources,
            raise_on_error=False,
            **options,
        )


@pytest.fixture(scope="session")
def asked(tmp_path_factory):
    """A home with the questions of `trails` in its lake."""
    root = tmp_path_factory.mktemp("asked")
    platform = build_platform(parse_study(STUDY), Home(root, "small"))
    assert make(platform, "validation_questions", "trails").success
    return root


@pytest.fixture
def platform(asked, tmp_path):
    """The study of a guest without weights, with the questions of `trails` in its lake."""
    shutil.copytree(asked, tmp_path / "home")
    return build_platform(parse_study(STUDY), Home(tmp_path / "home", "small"))


@pytest.fixture
def questions(platform):
    return platform.artifacts.lake.read(Node("validation_questions", "trails")).to_dicts()


@pytest.fixture
def take_in(platform):
    """Imports a file into a cell; gives what was imported."""

    def take_in(path, cell=CELL, **options):
        order = Order(RowFile.of(path), cell, **options)
        return import_rollouts(platform.study, platform.artifacts.lake, platform.home, order)

    return take_in


@pytest.fixture
def mean_exact_match(platform):
    """Scores the cell as it is now by the real asset; gives its mean exact match."""

    def mean_exact_match():
        assert make(platform, "answer_scores", CELL).success
        return platform.artifacts.lake.read(Node("answer_scores", CELL))["exact_match"].mean()

    return mean_exact_match


@pytest.fixture
def stored_rows(platform):
    """The rows of a cell, with the number of the question that each is of."""

    def rows(cell=CELL):
        lake = platform.artifacts.lake
        numbers = lake.read(Node("validation_questions", cell.split("|")[0])).select("question_id", "sample_id")
        frame = lake.read(Node("validation_rollouts", cell)).join(numbers, on="question_id", validate="m:1")
        return frame.sort("sample_id", "rollout_id")

    return rows
