import textwrap

import pytest
from minimal import MINIMAL, line_of

from partitions.grid import Grid
from partitions.study_file import StudyError, load_study, packaged_studies, parse_study


def refused(text):
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", packaged_studies())
def test_every_packaged_study_loads(name):
    assert load_study(name).name == name


def test_a_model_may_have_a_price_and_none_is_unknown_not_free():
    priced = MINIMAL.replace(
        "    modes: [base, mbt-s]\n", "    modes: [base, mbt-s]\n    price: {input: 0.15, output: 0.6}\n"
    )
    tiny = parse_study(priced).models["tiny"].price
    assert (tiny.input, tiny.output, tiny.cached_input, tiny.currency) == (0.15, 0.6, None, "USD")
    assert parse_study(MINIMAL).models["tiny"].price is None
    assert "price.input: Input should be greater than or equal to 0" in refused(priced.replace("0.15", "-1"))


def test_the_paper_study_is_the_published_matrix():
    study = load_study("paper")
    assert len(study.variants) == 46
    assert len(Grid(study).keys("cell_metrics")) == 138
    assert [len(study.models[name].modes) for name in study.students] == [15, 15, 15]
    sources = [study.models[name].source.repo for name in [*study.students, study.teacher, *study.judges]]
    assert sources == [
        "Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-1.7B",
        "Qwen/Qwen3-4B",
        "openai/gpt-oss-120b",
        "google/gemma-4-31B-it",
    ]
    trl = study.sft.trl
    assert trl["per_device_train_batch_size"] * trl["gradient_accumulation_steps"] * 4 == 128
    assert study.sampling_of("gpt-oss-120b").reasoning_effort == "high"
    assert study.sampling_of("qwen3-4b").max_tokens == 32_768


def test_a_minimal_study_is_enough():
    assert parse_study(MINIMAL).variants == ["tiny__base", "tiny__mbt-s"]


@pytest.mark.parametrize(
    ("old", "new", "part", "why"),
    [
        ("mbt-s]", "mbt-x]", "modes: [base, mbt-x]", "unknown mode 'mbt-x'"),
        ("teacher: rule-teacher", "teacher: gpt", "teacher: gpt", "model 'gpt' has no entry under models"),
        ("judges: [rule-teacher]", "judges: [gemma]", "judges: [gemma]", "model 'gemma' has no entry"),
        ("judges: [rule-teacher]", "judges: [rule-teacher, rule-teacher]", "judges: [rule", "stands twice"),
        (
            "judges: [rule-teacher]",
            "judges: [rule-teacher]\njudge_sampling:\n  extra:\n    truncate_prompt_tokens: 8192",
            "truncate_prompt_tokens: 8192",
            "has the server cut what it is asked",
        ),
        (
            "training_datasets: [trails]",
            "training_datasets: [hotpot]",
            "training_datasets: [hotpot]",
            "'hotpot' has no",
        ),
        ("  trails: {", "  tra|ils: {", "tra|ils: {", "must not be empty or contain |"),
        ("  tiny:", "  ti/ny:", "ti/ny:", "must not be empty or contain /"),
        ("  tiny:", "  ti...ny:", "ti...ny:", "must not be empty or contain ..."),
        ("name: small", "name: a,b", "name: a,b", "must not be empty or contain ,"),
        ("modes: [base, mbt-s]", "modes: [mbt-s]", "modes: [mbt-s]", "has modes but no base"),
        ("modes: [base, mbt-s]", "modes: [base, mbt-s-grpo]", "mbt-s-grpo", "starts from 'mbt-s'"),
        ("modes: [base, mbt-s]", "modes: [base, base]", "modes: [base, base]", "stands twice"),
        ("role: student", "role: pupil", "role: pupil", "Input should be"),
        (
            "server: {kind: student}",
            "server: {kind: openai, base_url: http://here/v1, model: gpt}",
            "modes: [base, mbt-s]",
            "models.tiny.modes.1: mode 'mbt-s' has weights of its own, and the endpoint of 'tiny' answers with those",
        ),
        (
            "teacher: rule-teacher",
            "teacher: rule-teacher\nsft:\n  by_mode:\n    mbt-s:\n      by_mode: {}",
            "      by_mode: {}",
            "sft.by_mode.mbt-s.by_mode: a mode's own settings have no by_mode",
        ),
        ("name: small", "name: small\ntypo: 1", "typo: 1", "Extra inputs"),
        ("name: small", "name: small\nseed: x", "seed: x", "valid integer"),
        ("teacher: rule-teacher", "teacher: rule-teacher\nteacher: tiny", "teacher: tiny", "stands twice"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_the_reason(old, new, part, why):
    text = MINIMAL.replace(old, new, 1)
    message = refused(text)
    assert f"my.yaml:{line_of(text, part)}:" in message
    assert why in message


def test_all_faults_are_listed_at_once():
    message = refused(MINIMAL.replace("mbt-s]", "nope]").replace("teacher: rule-teacher", "teacher: nobody"))
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds none"),
        ("- a\n- b", "holds none"),
        ("name: [", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: 1\nb: 2024-13-45", "my.yaml:2: not YAML: month must be in 1..12"),
        ("a: 1\nb: &b {c: [*b]}", "my.yaml:2: not YAML: found unconstructable recursive node"),
    ],
)
def test_what_is_no_study_at_all_is_said_plainly(text, why):
    assert why in refused(text)


def test_an_unknown_name_lists_the_packaged_studies(monkeypatch):
    monkeypatch.setenv("MBT_STUDY", "nowhere")
    with pytest.raises(StudyError, match=r"no study 'nowhere'.*embedded.*paper"):
        load_study()


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(str(path))


def test_a_model_s_own_settings_win_over_the_study_s():
    study = parse_study(
        MINIMAL.replace("modes: [base, mbt-s]", "modes: [base, mbt-s]\n    sampling: {temperature: 0.1}")
        + textwrap.dedent("""
        sampling: {temperature: 0.6, top_k: 20}
        sft: {trl: {learning_rate: 0.1, max_steps: 5}, by_mode: {mbt-s: {trl: {max_steps: 9}}}}
        """)
    )
    assert study.sampling_of("tiny").model_dump(exclude_none=True) == {"temperature": 0.1, "top_k": 20, "extra": {}}
    assert study.training_of("tiny__mbt-s", "sft").trl == {"learning_rate": 0.1, "max_steps": 9}


@pytest.mark.parametrize(
    ("written", "number"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("-2e+3", -2e3), ("5.e-1", 0.5), (".5e1", 5.0), ("1.0e5", 1e5), ("+1e0", 1.0)],
)
def test_a_number_with_an_exponent_needs_no_dot(written, number):
    read = parse_study(MINIMAL + f"sft: {{trl: {{learning_rate: {written}}}}}\n").sft.trl["learning_rate"]
    assert (read, type(read)) == (number, float)


@pytest.mark.parametrize("written", ["'1e-4'", "1e", "e5", "1e-", "v1e5", "1e5.0", "1e5a", "0e1f2", "."])
def test_what_only_looks_like_such_a_number_stays_text(written):
    trl = parse_study(MINIMAL + f"sft: {{trl: {{some: {written}}}}}\n").sft.trl
    assert trl == {"some": written.strip("'")}


@pytest.mark.parametrize("mode", ["self-distill", "grpo", "token-skip"])
def test_an_endpoint_that_somebody_else_runs_answers_for_no_mode_with_weights_of_its_own(mode):
    remote = MINIMAL.replace("{kind: student}", "{kind: openai, base_url: http://here/v1, model: gpt}")
    message = refused(remote.replace("mbt-s]", f"{mode}]"))
    assert f"mode '{mode}' has weights of its own" in message
    assert message.endswith("Serve it with vllm, or drop the mode")
    assert parse_study(remote.replace("mbt-s]", "metacognitive-prompt]")).students == ["tiny"]


def test_a_study_means_the_same_after_it_travelled_as_json():
    study = load_study("paper")
    again = type(study).model_validate_json(study.model_dump_json())
    assert again == study
    assert again.sampling_of("gemma-4-31b-it", again.judge_sampling) == study.sampling_of(
        "gemma-4-31b-it", study.judge_sampling
    )
