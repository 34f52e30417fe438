"""How others score answers: what `bench/score.py` measures the columnar scores against.

Written from the definition of HotpotQA's evaluation script, function by function, and as users of `datasets` and pandas
would write the rest: one process, plain Python per row or group.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import datasets
import pandas as pd

from mbt_assets.scoring.repeated import avg_at_k, maj_at_k, pass_at_k

Row = dict[str, Any]


def normalize_answer(text: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(text.lower())))


def overlap(prediction: str, gold: str) -> tuple[float, float, float]:
    """F1, precision and recall of two normalised answers."""
    if prediction in ["yes", "no", "noanswer"] and prediction != gold:
        return 0, 0, 0
    if gold in ["yes", "no", "noanswer"] and prediction != gold:
        return 0, 0, 0
    prediction_tokens, gold_tokens = prediction.split(), gold.split()
    common = Counter(prediction_tokens) & Counter(gold_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0, 0, 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall), precision, recall


def hotpotqa_script(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """EM and F1 against the first reference, as the script's `update_answer` goes about it for each row."""
    metrics = {"em": 0.0, "f1": 0.0, "prec": 0.0, "recall": 0.0}
    scores = []
    for row in rows:
        prediction, gold = row["prediction"], row["references"][0]
        em = float(normalize_answer(prediction) == normalize_answer(gold))
        f1, precision, recall = overlap(normalize_answer(prediction), normalize_answer(gold))
        metrics["em"] += em
        metrics["f1"] += f1
        metrics["prec"] += precision
        metrics["recall"] += recall
        scores.append((em, float(f1)))
    return scores


def dataset_map(dataset: datasets.Dataset) -> datasets.Dataset:
    """Three scores of each row with `Dataset.map`, nothing written to disk."""
    return dataset.map(_map_row, keep_in_memory=True, load_from_cache_file=False)


def _map_row(row: Row) -> Row:
    # Each text is normalised once: kinder than one pass per metric.
    prediction, golds = normalize_answer(row["prediction"]), [normalize_answer(text) for text in row["references"]]
    return {
        "exact_match": float(any(prediction == gold for gold in golds)),
        "substring_match": float(any(gold in prediction for gold in golds)),
        "f1": float(max(overlap(prediction, gold)[0] for gold in golds)),
    }


def groupby_loop(frame: pd.DataFrame, ks: Sequence[int]) -> list[tuple[str, int, float, float, float]]:
    """avg@k, maj@k and pass@k of each question and k: one group at a time."""
    scores = []
    for question, group in frame.groupby("question_id"):
        right, predictions = group["score"].tolist(), group["prediction"].tolist()
        for k in ks:
            found = avg_at_k(right, k), maj_at_k(predictions, right, k), pass_at_k(len(right), int(sum(right)), k)
            scores.append((question, k, *found))
    return scores
