"""Rollouts that were made elsewhere: rows in the columns of the reference code, and a study that has just them."""

import json

import datasets
import polars as pl
from small import SMALL

GUEST = """
  guest:
    role: student
    source: {kind: imported}
    modes: [base, limopro]
  rule-teacher:
"""
STUDY = SMALL.replace("  rule-teacher:\n", GUEST, 1)


def reply(thought, content):
    return f"<think>\n{thought}\n</think>\n\n{content}"


def _cases(gold):
    """Response, reasoning_trace, predicted_answer and valid of every way in which a rollout may come out."""
    right = f"<answer>{gold}</answer>"
    thought = f"Let us look.\n\nSo maybe {gold}."
    return [
        (reply(thought, right), thought, gold, True),
        (reply("hm", "<answer>Atlantis</answer>"), "hm", "Atlantis", True),
        (reply(thought, f"It is <answer> The {gold.upper()}! </answer>"), thought, f"The {gold.upper()}!", True),
        (reply(thought, f"So it is {gold}."), thought, "", True),
        (f"<think>\nWait. So maybe {gold}. Wait. <answer>{gold}</answer>", "", "", False),
        (right, thought, gold, True),
        ("", "", "", False),
        (reply(thought, f"<answer>Atlantis</answer> no, {right}"), thought, gold, True),
        (right, "", gold, True),
        (reply(thought, "<answer></answer>"), thought, "", True),
    ]


def reference_rows(questions, rollouts=2):
    """Rows as the reference code saves them, one way of answering after the other."""
    rows = []
    for question in questions:
        for rollout_id in range(1, rollouts + 1):
            cases = _cases(question["answer"])
            response, thought, predicted, valid = cases[(question["sample_id"] + rollout_id) % len(cases)]
            rows.append(
                {
                    "sample_id": question["sample_id"],
                    "question": question["question"],
                    "answer": question["answer"],
                    "answer_aliases": list(question["aliases"]),
                    "rollout_id": rollout_id,
                    "response": response,
                    "valid": valid,
                    "reasoning_trace": thought,
                    "predicted_answer": predicted,
                }
            )
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path, rows):
    pl.DataFrame(rows).write_parquet(path)
    return path


def write_dataset(path, rows):
    """A folder as `datasets` writes it."""
    datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return path


WRITERS = {"rows.jsonl": write_jsonl, "rows.parquet": write_parquet, "results": write_dataset}
"""For each name of a file, what writes it."""
