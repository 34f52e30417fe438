"""An untrained student, made once: enough for everything that is not about what it knows."""

import pytest

from mbt_assets import prompts
from mbt_assets.benchmarks import trails

torch = pytest.importorskip("torch", reason="the payloads need the train extra")


@pytest.fixture(scope="session")
def blank_student(tmp_path_factory):
    """A checkpoint folder with random weights."""
    from mbt_assets.payloads.make_student import new_model
    from mbt_assets.payloads.student_tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny" / "blank"
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    new_model({}, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def asked():
    """Some questions with their prompts."""
    questions = list(trails.generate("train", 24, seed=3))
    return [(question, prompts.render("answer", **question)) for question in questions]


@pytest.fixture(scope="session")
def rows(asked, tmp_path_factory):
    """A file of training rows."""
    from trainings import completion, write

    file = tmp_path_factory.mktemp("rows") / "rows.parquet"
    write(file, [(prompt, completion(question)) for question, prompt in asked])
    return file


@pytest.fixture
def spec(blank_student, rows, tmp_path):
    """Makes specs of short trainings of the untrained student."""
    from trainings import QUICK

    from mbt_assets.payloads.train_spec import TrainSpec

    def make(**changes):
        settings = {"base": str(blank_student), "train": str(rows), "out_dir": str(tmp_path / "out"), "trl": QUICK}
        return TrainSpec(**{**settings, **changes})

    return make
