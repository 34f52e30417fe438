"""Reading a rendered prompt back into its parts: which task it is, documents, question, answer, trace.

Only text is looked at here; how a task is answered is the teacher's and the judge's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ANSWER_OPENING = "Answer the question from the documents."
_TASKS = {
    "gold solution": "gold_solution",
    "five-phase synthesis": "mbt_s",
    "five-phase rewriting": "mbt_r",
    "free rewriting": "distill_r",
    "answer grading": "verdict",
    "answer hit": "answer_hit",
    "reach and redundancy": "rrp",
    "metacognitive quality": "mqi",
}
_NEEDED = {
    "gold_solution": ("DOCUMENTS", "QUESTION", "GOLD ANSWER"),
    "mbt_s": ("DOCUMENTS", "QUESTION", "GOLD ANSWER"),
    "mbt_r": ("DOCUMENTS", "QUESTION", "GOLD ANSWER", "GOLD SOLUTION", "STUDENT'S DRAFT"),
    "distill_r": ("DOCUMENTS", "QUESTION", "GOLD ANSWER", "GOLD SOLUTION", "STUDENT'S DRAFT"),
    "verdict": ("QUESTION", "GOLD ANSWER", "PREDICTED ANSWER"),
    "answer_hit": ("QUESTION", "GOLD ANSWER", "REASONING"),
    "rrp": ("QUESTION", "GOLD ANSWER", "REASONING"),
    "mqi": ("QUESTION", "REASONING", "PREDICTED ANSWER"),
}
_HEADING = r"^(={5}(?:[0-9a-f]{12}={5})?) [A-Z' ]{1,40} \1$"
_FIRST_HEADING = re.compile(_HEADING, re.MULTILINE)
_DOCUMENT = re.compile(r"\[(\d{1,6})\] (.*)")
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”)]))\s+(?=[\"'“(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:^|[\s(.])(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No|Lt|Col|Gen|Capt|Prof|Inc|Ltd|c|b|d|v)\.$")
_TITLE_REACH = 160


class UnknownPromptError(ValueError):
    """The messages are none of this project's prompts, or one that has lost a part; the message says which."""


@dataclass(frozen=True)
class Reply:
    """What a rule-based model says: `content`, and its `reasoning` apart from it (None: it gave none)."""

    reasoning: str | None
    content: str


@dataclass(frozen=True)
class Document:
    """One numbered document: its title, its text on one line, and the text's sentences."""

    title: str
    text: str

    @property
    def sentences(self) -> list[str]:
        """The text cut into sentences; initials and common abbreviations do not end one."""
        return split_sentences(self.text)


@dataclass(frozen=True)
class Prompt:
    """A prompt's parts; those that its task does not have are empty.

    Attributes:
        task: name of the template it was rendered from.
        question: the question, on one line.
        documents: the numbered documents, in order.
        answer: the gold answer; empty where the prompt does not tell it.
        aliases: other accepted answers.
        trace: the student's draft, or the reasoning to be judged (with markers, for `rrp`).
        prediction: the predicted answer.
    """

    task: str
    question: str
    documents: tuple[Document, ...] = ()
    answer: str = ""
    aliases: tuple[str, ...] = ()
    trace: str = ""
    prediction: str = ""
    references: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "references", tuple(text for text in (self.answer, *self.aliases) if text))


def read(messages: Sequence[Mapping[str, object]]) -> Prompt:
    """Read chat messages, as `mbt_assets.prompts` renders them, back into their parts.

    Raises:
        UnknownPromptError: no user message, none of the project's prompts, or a part of the prompt is missing.
    """
    text = _last_user_text(messages)
    if text.startswith(ANSWER_OPENING):
        return _read_answer(text, guided=any(message.get("role") == "system" for message in messages))
    first, _, rest = text.partition("\n")
    task = _TASKS.get(first.removeprefix("Task: ").strip()) if first.startswith("Task: ") else None
    if task is None:
        raise UnknownPromptError(f"the rules answer only this project's prompts; this one begins with {first[:80]!r}")
    parts = _sections(rest)
    missing = [name for name in _NEEDED[task] if name not in parts]
    if missing:
        raise UnknownPromptError(f"the {task} prompt has lost its part {missing[0]}; render it with mbt_assets.prompts")
    return Prompt(
        task=task,
        question=parts["QUESTION"].strip(),
        documents=_documents(parts.get("DOCUMENTS", "")),
        answer=parts.get("GOLD ANSWER", "").strip(),
        aliases=_aliases(parts.get("ALSO ACCEPTED", "")),
        trace=(parts.get("STUDENT'S DRAFT") or parts.get("REASONING") or "").strip(),
        prediction=parts.get("PREDICTED ANSWER", "").strip(),
    )


def split_sentences(text: str) -> list[str]:
    """Cut running text into sentences, each stripped and not empty."""
    found: list[list[str]] = []
    for part in filter(None, map(str.strip, _SENTENCE_END.split(text))):
        if found and _ABBREVIATION.search(found[-1][-1][-8:]):
            found[-1].append(part)
        else:
            found.append([part])
    return [" ".join(parts) for parts in found]


def _last_user_text(messages: Sequence[Mapping[str, object]]) -> str:
    for message in reversed(messages):
        content = message.get("content")
        if message.get("role") == "user" and isinstance(content, str):
            return content.strip()
    raise UnknownPromptError("the rules need a user message whose content is text")


def _read_answer(text: str, guided: bool) -> Prompt:
    """Documents and question stand on lines of their own, so the last `Question: ` line is the question."""
    before, marked, question = text.rpartition("\n\nQuestion:")
    _, listed, documents = before.partition("\n\nDocuments:")
    if not marked or not listed:
        raise UnknownPromptError("the answer prompt has lost its Documents or its Question; render it anew")
    task = "answer_metacognitive" if guided else "answer"
    return Prompt(task=task, question=question.strip(), documents=_documents(documents))


def _sections(text: str) -> dict[str, str]:
    """Text by heading. The first heading's frame is the template's own: material comes after it and cannot know it."""
    first = _FIRST_HEADING.search(text)
    if first is None:
        return {}
    fence = re.escape(first[1])
    pieces = re.split(rf"^{fence} ([A-Z' ]{{1,40}}) {fence}$\n?", text[first.start() :], flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _documents(text: str) -> tuple[Document, ...]:
    """The lines `[1] title: text`, `[2] …`; a line with another number is no document."""
    found: list[Document] = []
    for line in text.splitlines():
        match = _DOCUMENT.match(line)
        if match and int(match[1]) == len(found) + 1:
            found.append(_document(match[2]))
    return tuple(found)


def _document(line: str) -> Document:
    """Cut a line at the colon that ends its title.

    A title may hold colons itself (`Alien: Covenant: Alien: Covenant is a film.`). Mostly the text opens with it, so
    the longest title that its own text repeats wins, else the shortest.
    """
    cuts = [match.start() for match in re.finditer(": ", line[:_TITLE_REACH])]
    repeated = [cut for cut in cuts if line.startswith(_bare(line[:cut]), cut + 2)]
    cut = repeated[-1] if repeated else cuts[0] if cuts else line.find(":")
    return Document(line[:cut].strip(), line[cut + 1 :].strip()) if cut > 0 else Document("", line.strip(": "))


def _bare(title: str) -> str:
    """A title without what stands in brackets at its end, as running text gives it."""
    return title.split(" (")[0] or title


def _aliases(text: str) -> tuple[str, ...]:
    return tuple(line[2:].strip() for line in text.splitlines() if line.startswith("- "))
