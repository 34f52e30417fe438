"""The rule-based judge: verdicts, answer hits, reach-redundancy and metacognitive quality, in the formats asked for.

`reply` is a pure function of the messages. Its rules are crude and fixed; they see no documents, as real judges do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from mbt_assets.embedded.phases import phases_of, trace_phases
from mbt_assets.embedded.reading import Prompt, Reply, UnknownPromptError, read
from mbt_assets.embedded.words import content_words, derives, mentions
from mbt_assets.scoring.answers import normalize
from mbt_assets.scoring.traces import MARKER_END, MARKER_NONE, paragraphs

_REFUSAL = re.compile(
    r"\b(?:do(?:es)? not|dont|cannot|cant|unable to)\b.{0,40}\b(?:know|say|tell|determine)\b|^unknown$"
)
_MARKER = re.compile(r"\[\[M\d{2,6}\]\]\Z", re.ASCII)
_LEAST_SHARE = 0.5  # of the gold answer's words, for a shortened name to count
_MOST_NOVELTY = 0.2  # of a paragraph's content words, for it to be a restatement


def reply(messages: Sequence[Mapping[str, object]], seed: int = 0) -> Reply:
    """Answer one of the judge's prompts from its text alone.

    Args:
        messages: chat messages as `mbt_assets.prompts.render` makes them for verdict, answer_hit, rrp or mqi.
        seed: taken for the sake of a common signature; the judge does not vary.

    Raises:
        UnknownPromptError: another prompt, or one that has lost a part.
    """
    prompt = read(messages)
    if prompt.task not in _TASKS:
        raise UnknownPromptError(f"the rule judge does not do the {prompt.task} prompt; send it to the rule teacher")
    return Reply(None, _TASKS[prompt.task](prompt))


def _verdict(prompt: Prompt) -> str:
    predicted = normalize(prompt.prediction)
    if not predicted or _REFUSAL.search(predicted):
        return "C"
    return "A" if any(_means(predicted, normalize(gold)) for gold in prompt.references) else "B"


def _means(predicted: str, gold: str) -> bool:
    """Whether a normalised prediction is a gold answer, holds it whole, or is a fair part of it."""
    if not gold:
        return False
    if gold in ("yes", "no"):
        return predicted.split()[0] == gold
    if f" {gold} " in f" {predicted} ":
        return " or " not in predicted or " or " in gold
    shortened = f" {predicted} " in f" {gold} " and not predicted.isdigit()
    return shortened and len(predicted.split()) >= _LEAST_SHARE * len(gold.split())


def _answer_hit(prompt: Prompt) -> str:
    found = any(_derives(paragraph, prompt) for paragraph in paragraphs(prompt.trace))
    return "YES" if found else "NO"


def _derives(paragraph: str, prompt: Prompt) -> bool:
    return derives(paragraph, prompt.references, prompt.question)


def _rrp(prompt: Prompt) -> str:
    parts, markers = _unmarked(prompt.trace)
    reached = next((k for k, part in enumerate(parts, start=1) if _derives(part, prompt)), 0)
    redundant = _redundant(parts, reached, prompt)
    names = [markers[k - 1] for k in redundant]
    answer = markers[reached - 1] if reached else MARKER_NONE
    where = f"The gold answer is first stated in paragraph {reached}" if reached else "The gold answer is never stated"
    return (
        f"ANSWER_PARAGRAPH_MARKER: {answer}\n"
        f"REDUNDANT_PARAGRAPH_MARKERS: {', '.join(names) or 'NONE'}\n"
        f"CONFIDENCE: {0.9 if reached else 0.7}\n"
        f"NOTES: {where}; {len(redundant)} of {len(parts)} paragraphs do no work."
    )


def _unmarked(marked: str) -> tuple[list[str], list[str]]:
    """The paragraphs of a marked trace, each without the marker on its last line, and the marker that names each."""
    parts, markers = [], []
    for part in paragraphs(marked):
        found = _MARKER.search(part)
        text = part[: found.start()].strip() if found else part
        if text:
            parts.append(text)
            markers.append(found[0] if found else MARKER_END)
    return parts, markers


def _redundant(parts: Sequence[str], reached: int, prompt: Prompt) -> list[int]:
    """Numbers of the paragraphs that restate earlier ones, or wander off; a first plan or check is neither."""
    asked = set(content_words(prompt.question))
    needed = asked | (set(content_words(parts[reached - 1])) if reached else set())
    seen: set[str] = set()
    spared: set[int] = set()
    redundant = []
    for number, part in enumerate(parts, start=1):
        words = set(content_words(part))
        work = {phase for phase in phases_of(part, number, len(parts)) if phase in (2, 4, 5)} - spared
        restated = len(words - seen) <= _MOST_NOVELTY * len(words)
        wandering = not words & needed
        if number > 1 and number != reached and not work and (restated or wandering):
            redundant.append(number)
        seen |= words
        spared |= work
    return redundant


def _mqi(prompt: Prompt) -> str:
    found = trace_phases(prompt.trace)
    listed = ", ".join(map(str, sorted(found))) or "NONE"
    return f"L_OBS: {_level(found, prompt.trace)}\nPHASES: {listed}\nCONFIDENCE: {_confidence(prompt)}"


def _level(found: set[int], trace: str) -> int:
    if len(content_words(trace)) < 3:
        return 0
    if len(found) >= 4:
        return len(found)
    if {2, 3} <= found:
        return 3
    return 2 if found & {2, 5} else 1


def _confidence(prompt: Prompt) -> float:
    """High if the trace ends with the predicted answer, middling if it only names it, low if it does not."""
    parts = paragraphs(prompt.trace)
    if not normalize(prompt.prediction) or not parts:
        return 0.0 if not normalize(prompt.prediction) else 0.2
    if mentions(parts[-1], prompt.prediction):
        return 0.9
    return 0.5 if mentions(prompt.trace, prompt.prediction) else 0.2


_TASKS: dict[str, Callable[[Prompt], str]] = {
    "verdict": _verdict,
    "answer_hit": _answer_hit,
    "rrp": _rrp,
    "mqi": _mqi,
}
