"""The published evaluation scripts of HotpotQA and MuSiQue, written down from their definitions, in plain Python."""

from __future__ import annotations

import re
import string
from collections import Counter


def normalize_answer(text):
    """Of both scripts."""

    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(text.lower())))


def hotpotqa_f1(prediction, gold):
    """F1 of hotpot_evaluate_v1.py."""
    normalized_prediction, normalized_gold = normalize_answer(prediction), normalize_answer(gold)
    if normalized_prediction in ["yes", "no", "noanswer"] and normalized_prediction != normalized_gold:
        return 0
    if normalized_gold in ["yes", "no", "noanswer"] and normalized_prediction != normalized_gold:
        return 0
    prediction_tokens, gold_tokens = normalized_prediction.split(), normalized_gold.split()
    common = Counter(prediction_tokens) & Counter(gold_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def hotpotqa_em(prediction, gold):
    """Exact match of hotpot_evaluate_v1.py."""
    return normalize_answer(prediction) == normalize_answer(gold)


def musique_f1(gold, prediction):
    """F1 of MuSiQue's metrics/answer.py, which is SQuAD 2's."""
    gold_tokens, prediction_tokens = normalize_answer(gold).split(), normalize_answer(prediction).split()
    common = Counter(gold_tokens) & Counter(prediction_tokens)
    num_same = sum(common.values())
    if len(gold_tokens) == 0 or len(prediction_tokens) == 0:
        return int(gold_tokens == prediction_tokens)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def musique_em(gold, prediction):
    """Exact match of MuSiQue's metrics/answer.py."""
    return int(normalize_answer(gold) == normalize_answer(prediction))


def max_over_ground_truths(metric, prediction, golds):
    """The best of a metric over the answer and its aliases, as MuSiQue's script takes it."""
    return max(metric(gold, prediction) for gold in golds)
