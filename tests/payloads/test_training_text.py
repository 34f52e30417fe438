"""Rows as tokens: what is learnt, token by token, and what a chat template must not do to a row."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from trainings import QUICK, Listener, write
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mbt_assets.payloads.examples import IGNORED, example, tokenized
from mbt_assets.payloads.sft import fine_tune
from mbt_assets.payloads.specs import PayloadMistake

PROMPT = [
    {"role": "system", "content": "Answer the question.\nThink first."},
    {"role": "user", "content": "Who directed film3?  Give <answer> tags."},
]
ASKED = (
    "<|im_start|>system\nAnswer the question.\nThink first.<|im_end|>\n"
    "<|im_start|>user\nWho directed film3?  Give <answer> tags.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
COMPLETION = "<think>\nfilm3: person7.\n\nWait. Yes.\n</think>\n\n<answer>person7</answer>"
END = "<|im_end|>\n"


@pytest.fixture(scope="module")
def qwen3():
    """A byte-level BPE with Qwen3's special tokens and its own chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([ASKED, COMPLETION, "Answer the question: who directed the film?"], trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<think>", "</think>")])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    return made


def test_under_qwen3s_own_template_each_token_is_what_it_must_be(qwen3):
    tokens, labels = example(PROMPT, COMPLETION, qwen3)
    asked, said = (qwen3(text, add_special_tokens=False).input_ids for text in (ASKED, COMPLETION + END))
    expected = [qwen3.decode([token]) for token in [*asked, *said]]
    assert [qwen3.decode([token]) for token in tokens] == expected
    assert "".join(expected) == ASKED + COMPLETION + END
    assert labels[: len(asked)] == [IGNORED] * len(asked)
    assert labels[len(asked) :] == tokens[len(asked) :] == said
    assert qwen3.decode(said) == COMPLETION + END
    assert [said.count(qwen3.convert_tokens_to_ids(text)) for text in ("<think>", "</think>", "<|im_end|>")] == [1] * 3
    assert said[-2] == qwen3.eos_token_id


def test_text_in_any_script_comes_back_as_it_was(qwen3):
    completion = "<think>\nŁódź, 東京 – naïve\t🙂 .\n</think>\n\n<answer>Łódź</answer>"
    tokens, labels = example([{"role": "user", "content": "où?"}], completion, qwen3)
    assert qwen3.decode([label for label in labels if label != IGNORED]) == completion + END
    assert qwen3.decode(tokens) == f"<|im_start|>user\noù?<|im_end|>\n<|im_start|>assistant\n{completion}{END}"


@pytest.mark.parametrize(
    ("prompt", "completion", "what"),
    [
        (
            [*PROMPT, {"role": "assistant", "content": "<think>\nOld.\n</think>\n\nYes."}, PROMPT[1]],
            COMPLETION,
            r"message 2 of the prompt \(assistant\)",
        ),
        (PROMPT, "<think>\nI said </think> too early.\n</think>\n\n<answer>x</answer>", "the completion"),
        (PROMPT, "<think>\nA <think> inside.\n</think>\n\n<answer>x</answer>", "the completion"),
        (PROMPT, "<think>\n\n\nAfter empty lines.\n</think>\n\n<answer>x</answer>", "the completion"),
        (PROMPT, "<answer>without reasoning</answer>", "the completion"),
        (PROMPT, "<think>\nWritten on<|im_end|>", "the completion"),
    ],
    ids=["past reasoning", "a second end", "a second start", "empty lines", "no reasoning", "no end of reasoning"],
)
def test_a_row_that_qwen3s_template_would_change_is_named(qwen3, prompt, completion, what):
    good = {"prompt": PROMPT, "completion": COMPLETION}
    rows = pl.DataFrame([*[good] * 1200, {"prompt": prompt, "completion": completion}])
    with pytest.raises(PayloadMistake, match=f"row 1200: the chat template does not keep {what}"):
        tokenized(rows, qwen3)


def test_a_completion_that_the_template_does_not_end_is_refused(qwen3, blank_student):
    tokenizer = AutoTokenizer.from_pretrained(blank_student)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    with pytest.raises(PayloadMistake, match="does not keep the completion's end"):
        example([{"role": "user", "content": "Question"}], "city2", tokenizer)


def test_a_template_that_puts_words_into_the_answer_is_refused(blank_student, asked):
    tokenizer = AutoTokenizer.from_pretrained(blank_student)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\\n", "assistant\\nSo it is ")
    with pytest.raises(PayloadMistake, match="does not keep the prompt"):
        example(asked[0][1], "<answer>city2</answer>", tokenizer)


def test_the_run_stops_at_such_a_row(spec, asked, tmp_path):
    trims = tmp_path / "trims"
    shutil.copytree(spec().base, trims)
    template = trims / "chat_template.jinja"
    template.write_text(template.read_text().replace("message['content']", "message['content'] | trim"))
    rows = [(prompt, said) for (_, prompt), said in zip(asked, ["Wait. Done.", " city2"], strict=False)]
    write(tmp_path / "bad.parquet", rows)
    with pytest.raises(PayloadMistake, match=r"row 1: .*does not keep the completion as it is"):
        fine_tune(spec(train=str(tmp_path / "bad.parquet"), base=str(trims)), Listener())


def lengths_file(file, asked, words):
    write(
        file,
        [(prompt, f"<think>\n{'So ' * count}\n</think>") for (_, prompt), count in zip(asked, words, strict=False)],
    )
    return str(file)


def test_rows_that_are_too_long_are_left_out_and_counted(spec, asked, tmp_path):
    train = lengths_file(tmp_path / "rows.parquet", asked, [1] * 10 + [60] * 3)
    listener = Listener()
    result = fine_tune(spec(train=train, trl=QUICK | {"max_length": 140, "max_steps": 1}), listener)
    assert (result["rows"], result["rows_too_long"]) == (10, 3)
    assert listener.heard("3 rows are longer than max_length=140: they are left out")


def test_rows_that_are_too_long_can_be_cut_instead(spec, asked, tmp_path):
    train = lengths_file(tmp_path / "rows.parquet", asked, [1] * 10 + [60] * 3)
    trl = QUICK | {"max_length": 140, "max_steps": 1, "per_device_train_batch_size": 13}
    listener = Listener()
    result = fine_tune(spec(train=train, too_long="cut", trl=trl), listener)
    assert (result["rows"], result["rows_too_long"]) == (13, 3)
    assert listener.heard("3 rows are longer than max_length=140: their end is cut off, 0 are left out")
    short = tokenized(pl.read_parquet(train), AutoTokenizer.from_pretrained(spec().base))
    assert result["tokens"] == sum(min(len(row), 140) for row in short["input_ids"])


@pytest.mark.parametrize("too_long", ["drop", "cut"])
def test_a_limit_that_leaves_no_row_is_refused(spec, too_long):
    with pytest.raises(PayloadMistake, match="all 24 rows are longer than max_length=50"):
        fine_tune(spec(too_long=too_long, trl=QUICK | {"max_length": 50}), Listener())


def test_packed_rows_keep_their_labels_and_do_not_see_each_other(spec, asked, tmp_path):
    train = lengths_file(tmp_path / "rows.parquet", asked, [1, 9, 4, 30])
    once = QUICK | {"max_steps": 1, "max_length": 600}
    apart = fine_tune(spec(train=train, out_dir=str(tmp_path / "apart"), trl=once), Listener())
    packed_trl = once | {"packing": True, "per_device_train_batch_size": 1}
    packed = fine_tune(spec(train=train, trl=packed_trl), Listener())
    tokenizer = AutoTokenizer.from_pretrained(spec().base)
    rows = tokenized(pl.read_parquet(train), tokenizer)
    assert packed["tokens"] == sum(len(row) for row in rows["input_ids"])  # all four rows in one
    assert packed["rows"] == 4
    # A label in the wrong place, or a row that sees the one before, would give another loss.
    assert packed["final_loss"] == pytest.approx(apart["final_loss"], rel=1e-5)
    assert packed["curve"][0]["grad_norm"] == pytest.approx(apart["curve"][0]["grad_norm"], rel=1e-4)
