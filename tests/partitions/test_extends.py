"""A study that says only what differs from another one."""

import pytest
from minimal import MINIMAL, line_of

from partitions.study_file import StudyError, load_study, parse_study

PARENT = MINIMAL + "sampling: {temperature: 0.6, top_k: 20}\nsft: {trl: {learning_rate: 0.1, max_steps: 5}}\n"


@pytest.fixture
def study(tmp_path):
    """Writes a file that extends `parent.yaml` beside it and loads it."""
    (tmp_path / "parent.yaml").write_text(PARENT)

    def load(text, head="extends: parent.yaml\nname: child\n"):
        (tmp_path / "child.yaml").write_text(head + text)
        return load_study(str(tmp_path / "child.yaml"))

    return load


def refused(load, *arguments, **options):
    with pytest.raises(StudyError) as caught:
        load(*arguments, **options)
    return str(caught.value)


def test_what_is_not_said_again_is_the_parent_s(study):
    parent = parse_study(PARENT)
    assert study("") == parent.model_copy(update={"name": "child"})


def test_mappings_are_merged_and_lists_and_values_replaced(study):
    child = study("seed: 7\nsft: {trl: {max_steps: 9}}\nmodels: {tiny: {modes: [base]}}\n")
    assert child.seed == 7
    assert child.sft.trl == {"learning_rate": 0.1, "max_steps": 9}
    assert child.models["tiny"].modes == ["base"]
    assert child.models["tiny"].source.kind == "embedded"
    assert child.sampling.top_k == 20


def test_a_source_or_server_of_another_kind_is_replaced_as_a_whole(study):
    server = "{kind: openai, base_url: http://here/v1, model: gpt}"
    child = study(f"models: {{rule-teacher: {{server: {server}}}}}\n")
    assert child.models["rule-teacher"].server.model == "gpt"
    same = study("models: {rule-teacher: {server: {kind: rules, name: rule-judge}}}\n")
    assert same.models["rule-teacher"].server.name == "rule-judge"


def test_a_packaged_study_is_extended_by_its_name(tmp_path):
    (tmp_path / "small.yaml").write_text("extends: paper\nname: small\nrollouts: {rewrites: 1}\n")
    small, paper = load_study(str(tmp_path / "small.yaml")), load_study("paper")
    assert (small.rollouts.rewrites, paper.rollouts.rewrites) == (1, 4)
    assert small.variants == paper.variants


def test_a_study_may_extend_one_that_extends_another(tmp_path):
    folder = tmp_path / "below"
    folder.mkdir()
    (tmp_path / "first.yaml").write_text(PARENT)
    (folder / "second.yaml").write_text("extends: ../first.yaml\nname: second\nseed: 2\n")
    (tmp_path / "third.yaml").write_text("extends: below/second.yaml\nname: third\nresamples: 100\n")
    third = load_study(str(tmp_path / "third.yaml"))
    assert (third.name, third.seed, third.resamples, third.teacher) == ("third", 2, 100, "rule-teacher")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("seed: 1\nsft:\n  trl: 3\n", 5, "sft.trl: Input should be a valid dictionary"),
        ("models:\n  tiny:\n    modes: [base, mbt-x]\n", 5, "models.tiny.modes.1: unknown mode 'mbt-x'"),
        ("models:\n  other:\n    role: judge\n", 4, "models.other.source: Field required"),
        ("\nteacher: nobody\n", 4, "teacher: model 'nobody' has no entry"),
        ("seed: 1\nseed: 2\n", 4, "seed: the key 'seed' stands twice"),
        ("models: [a]\n", 3, "models: Input should be a valid dictionary"),
    ],
)
def test_a_mistake_in_the_file_itself_has_its_line_there(study, tmp_path, text, line, why):
    assert f"{tmp_path / 'child.yaml'}:{line}: {why}" in refused(study, text)


def test_a_mistake_in_the_parent_has_its_file_and_line(study, tmp_path):
    wrong = PARENT.replace("judges: [rule-teacher]", "judges: [gemma]")
    (tmp_path / "wrong.yaml").write_text(wrong)
    message = refused(study, "seed: 1\n", head="extends: wrong.yaml\nname: child\n")
    assert message.startswith(f"{tmp_path / 'wrong.yaml'}:{line_of(wrong, 'judges: [gemma]')}: judges.0: model 'gemma'")


def test_studies_that_extend_each_other_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\nextends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("name: b\nextends: a.yaml\n")
    message = refused(load_study, str(tmp_path / "a.yaml"))
    assert message.startswith(f"{tmp_path / 'b.yaml'}:2: extends: these extend each other in a loop: ")
    assert message.count("a.yaml") == 2
    (tmp_path / "c.yaml").write_text("name: c\nextends: c.yaml\n")
    assert "c.yaml:2: extends: these extend each other" in refused(load_study, str(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (
            "extends: nowhere\nname: child\n",
            "child.yaml:1: extends: no study 'nowhere': give a file",
        ),
        ("extends: [paper]\nname: child\n", "child.yaml:1: extends: should be the name of a packaged study or a file"),
        ("extends: parent.yaml\n", "child.yaml:1: extends: a study that extends another needs a name of its own"),
        ("extends: list.yaml\nname: child\n", "list.yaml: a study is a mapping"),
        ("extends: bytes.yaml\nname: child\n", "bytes.yaml cannot be read"),
    ],
)
def test_what_cannot_be_extended_is_refused(study, tmp_path, head, why):
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert why in refused(study, "", head=head)
