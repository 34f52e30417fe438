"""The student's tokenizer: one token per entity, text that survives a round trip, a prompt that is a prefix."""

import random

import pytest
from transformers import AutoTokenizer

from mbt_assets import prompts
from mbt_assets.benchmarks.trails import CITIES, FILMS, PEOPLE, draft, generate, trail
from mbt_assets.embedded import teacher
from mbt_assets.payloads.student_tokenizer import build_tokenizer

FIVE_PHASES = (
    "About film3: find the birthplace of its director. film9 is noise.\n\nPlan: first the director then the birthplace."
    "\n\nfilm3 was directed by person7. person7 was born in city2. This fits.\n\nWait. Not city8.\n\n"
    "Check: film3 person7 city2. Done."
)
UNSTRUCTURED = "film3 was produced by person7. person7 now lives in city2. So it is city2."


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def response(trace, answer="city2"):
    return f"<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"


def drafts(count):
    rng = random.Random(1)
    return [response(*draft(trail(rng, 2), rng)) for _ in range(count)]


@pytest.mark.parametrize("text", [response(FIVE_PHASES), response(UNSTRUCTURED), *drafts(5)])
def test_what_a_student_writes_comes_back_as_it_was(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_an_entity_is_one_token_wherever_it_stands(tokenizer):
    for entity in (*FILMS, *PEOPLE, *CITIES):
        alone, inside = (
            tokenizer(entity).input_ids,
            tokenizer(f"So {entity}.\n{entity}: <answer>{entity}</answer>").input_ids,
        )
        assert len(alone) == 1
        assert inside.count(alone[0]) == 3


def test_the_teachers_longer_traces_are_known_words(tokenizer):
    for question in generate("train", 20, seed=8):
        reply = teacher.reply(prompts.render("answer", **question), 0)
        text = response(reply.reasoning or "", question["answer"])
        assert tokenizer.unk_token_id not in tokenizer(text).input_ids, text


def test_the_prompt_is_a_prefix_of_prompt_and_completion(tokenizer):
    prompt = prompts.render("answer", **next(generate("train", 1, seed=1)))
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(
        [*prompt, {"role": "assistant", "content": response(FIVE_PHASES)}], return_dict=True
    )["input_ids"]
    assert whole[: len(asked)] == asked
    assert tokenizer.unk_token_id not in asked


def test_past_reasoning_stays_in_the_prompt(tokenizer):
    turns = [
        {"role": "user", "content": "Question"},
        {"role": "assistant", "content": response(UNSTRUCTURED)},
        {"role": "user", "content": "Question"},
    ]
    assert "So it is city2." in tokenizer.apply_chat_template(turns, tokenize=False)


def test_unknown_words_become_unk_and_nothing_breaks(tokenizer):
    ids = tokenizer("The Wiggles’ début — 東京 (1991) naïve\t\u0000 film3's").input_ids
    assert tokenizer.unk_token_id in ids
    assert tokenizer("film3").input_ids[0] in ids
    assert isinstance(tokenizer.decode(ids), str)
    assert tokenizer("").input_ids == []


def test_it_is_the_same_after_saving_and_loading(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = drafts(1)[0]
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.chat_template == tokenizer.chat_template
    assert again.decode(again(text).input_ids) == text
