"""The rule-based teacher: answers questions, and writes gold solutions, synthesized and rewritten traces.

`reply` is a pure function of the messages and the seed. Generated questions are solved exactly, real ones guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mbt_assets.embedded import composing, trails_solver
from mbt_assets.embedded.composing import quotable
from mbt_assets.embedded.evidence import gather
from mbt_assets.embedded.guessing import guess
from mbt_assets.embedded.reading import Prompt, Reply, UnknownPromptError, read
from mbt_assets.embedded.trails_solver import Solved


def reply(messages: Sequence[Mapping[str, object]], seed: int = 0) -> Reply:
    """Answer one of the teacher's prompts from its text alone.

    Args:
        messages: chat messages as `mbt_assets.prompts.render` makes them for answer, answer_metacognitive,
            gold_solution, mbt_s, mbt_r or distill_r.
        seed: decides which distractor a free deliberation looks at; it never changes the answer.

    Raises:
        UnknownPromptError: another prompt, or one that has lost a part.
    """
    prompt = read(messages)
    if prompt.task not in _TASKS:
        raise UnknownPromptError(f"the rule teacher does not do the {prompt.task} prompt; send it to the rule judge")
    return _TASKS[prompt.task](prompt, seed)


def _answer(prompt: Prompt, seed: int) -> Reply:
    solved = trails_solver.solve(prompt.question, prompt.documents)
    guided = prompt.task == "answer_metacognitive"
    if solved:
        noise = solved.others[seed % len(solved.others)] if solved.others else None
        write = trails_solver.five_phases if guided else trails_solver.deliberation
        return _answered(write(solved, noise), solved.chain.city)
    evidence = gather(prompt.question, prompt.documents)
    found = quotable(guess(prompt.question, prompt.documents, evidence))
    if guided:
        return _answered(composing.five_phases(prompt.question, evidence, found), found)
    return _answered(composing.deliberation(prompt.question, evidence, found, aside=seed), found)


def _gold_solution(prompt: Prompt, seed: int) -> Reply:
    return _traced("The shortest chain of facts will do.", _plain(prompt))


def _synthesis(prompt: Prompt, seed: int) -> Reply:
    return _traced("Five phases, and the answer only where the documents yield it.", _structured(prompt, ""))


def _rewriting(prompt: Prompt, seed: int) -> Reply:
    return _traced("Keep what is sound, drop what overrides it.", _structured(prompt, prompt.trace))


def _control(prompt: Prompt, seed: int) -> Reply:
    return _traced("Keep what is right.", _plain(prompt, prompt.trace))


_TASKS: dict[str, Callable[[Prompt, int], Reply]] = {
    "answer": _answer,
    "answer_metacognitive": _answer,
    "gold_solution": _gold_solution,
    "mbt_s": _synthesis,
    "mbt_r": _rewriting,
    "distill_r": _control,
}


def _solved(prompt: Prompt) -> Solved | None:
    """The exact solution, if the documents lead to the very answer that the prompt gives."""
    solved = trails_solver.solve(prompt.question, prompt.documents)
    return solved if solved and solved.chain.city == prompt.answer else None


def _structured(prompt: Prompt, draft: str) -> str:
    solved = _solved(prompt)
    if solved:
        noise = trails_solver.wandered_into(solved, draft)
        wrong = not draft or trails_solver.ends_wrong(solved, draft)
        return trails_solver.five_phases(solved, noise, wrong=wrong)
    evidence = gather(prompt.question, prompt.documents, prompt.answer)
    kept = composing.kept_finding(draft, evidence, prompt.answer)
    return composing.five_phases(prompt.question, evidence, quotable(prompt.answer), kept)


def _plain(prompt: Prompt, draft: str = "") -> str:
    solved = _solved(prompt)
    if solved:
        return trails_solver.unstructured(solved)
    evidence = gather(prompt.question, prompt.documents, prompt.answer)
    kept = composing.kept_finding(draft, evidence, prompt.answer)
    return composing.unstructured(evidence, quotable(prompt.answer), kept)


def _answered(trace: str, answer: str) -> Reply:
    return Reply(trace, f"<answer>{answer}</answer>")


def _traced(thought: str, trace: str) -> Reply:
    return Reply(thought, f"<trace>\n{trace}\n</trace>")
