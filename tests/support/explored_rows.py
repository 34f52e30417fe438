"""Rows by hand of a small study for the explorer: few, told by rules that a test can work out, and some hostile texts.

A question's number decides everything: see `is_right`, `HOSTILE` and the odd rollouts of `odd_rollout`.
"""

import hashlib

from mbt_assets import prompts
from mbt_assets.judge_tasks import TASKS
from mbt_assets.recipes import scorer_version
from mbt_assets.scoring.replies import JudgeReplyError
from resources.engine import Request, request_digest

STUDY = """
name: explored
datasets:
  trails: {benchmark: trails}
  wide: {benchmark: trails}
training_datasets: [trails]
rollouts: {train: 2, validation: 2}
models:
  tiny:
    role: student
    source: {kind: embedded}
    server: {kind: student}
    modes: [base, mbt-s, mbt-r]
  rule-teacher:
    role: teacher
    source: {kind: rules}
    server: {kind: rules, name: rule-teacher}
  rule-judge:
    role: judge
    source: {kind: rules}
    server: {kind: rules, name: rule-judge}
  second-judge:
    role: judge
    source: {kind: rules}
    server: {kind: rules, name: rule-judge}
teacher: rule-teacher
judges: [rule-judge, second-judge]
resamples: 200
"""
QUESTIONS = {"trails": 20, "wide": 4}
ROLLOUTS = 2
BASE, MBT_S, MBT_R = "tiny__base", "tiny__mbt-s", "tiny__mbt-r"
CELLS = {"trails": (BASE, MBT_S, MBT_R), "wide": (BASE, MBT_R)}
"""The cells that were made; `wide|tiny__mbt-s` is missing, and the scores of `trails|tiny__mbt-s` are stale."""

HOSTILE_IDS = {2: "q/with/slashes", 4: 'it\'s "quoted"', 6: "a|b?c&d=e#f%2F+g h", 8: "emoji-🦊", 10: "<b>bold</b>"}
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
REVERSED = "left \u202egnirts desrever\u202c right"
CONTROLS = "NUL \x00, escape \x1b[31m, bell \x07"
LONG_LINE = "looong " * 150_000
"""About 1 MB in one line."""
ACCENTS = "Ärger, 漢字, שלום, 🦊"


def digest(*parts):
    """A digest that tells apart whatever it is made of."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def question_id(number):
    """The id of a question, from 1; some hold what addresses and HTML take for something else."""
    return HOSTILE_IDS.get(number, f"q{number:02d}")


def gold(number):
    """The gold answer of a question."""
    return f"Castle {number}"


def is_right(variant, number):
    """The base answers every other question right, MBT-R three of four, MBT-S one of five."""
    return {BASE: number % 2 == 0, MBT_R: number % 4 != 0, MBT_S: number % 5 == 0}[variant]


def tokens_of(variant, number):
    """Response tokens: MBT-R takes half of what the base takes."""
    return (200 + 10 * number) // (2 if variant == MBT_R else 1)


def question(dataset, number):
    """A question with two documents, of which the first supports the answer."""
    noted = SCRIPT if number == 2 else REVERSED if number == 3 else ACCENTS
    return {
        "dataset": dataset,
        "question_id": question_id(number),
        "sample_id": number,
        "question": f"Which castle stands at milestone {number}? {noted}",
        "answer": gold(number),
        "aliases": [f"the old castle {number}"],
        "documents": [
            {
                "title": f"Milestone {number}",
                "sentences": [f"Milestone {number} is on the road.", f"Beside it stands Castle {number}."],
                "is_supporting": True,
            },
            {"title": f"Distractor {noted}", "sentences": ["The mill is closed."], "is_supporting": False},
        ],
        "supporting_facts": [{"title": f"Milestone {number}", "sentence": 1}],
        "question_type": "bridge" if number % 2 else "comparison",
        "level": None,
        "tier": ("easy", "medium", "hard")[number % 3],
        "answerable": True,
    }


def reply_columns(reasoning, content, **other):
    """Columns of one reply."""
    return {
        "response": f"<think>\n{reasoning}\n</think>\n\n{content}",
        "reasoning": reasoning,
        "content": content,
        "finish_reason": "stop",
        "prompt_tokens": 300,
        "cached_tokens": 0,
        "completion_tokens": 100,
        "reasoning_tokens": 90,
        "error": None,
        "attempts": 1,
        "length_retries": 0,
        "discarded_tokens": 0,
        "queue_ms": 1.0,
        "latency_ms": 250.0,
        "prompt_digest": prompts.digest("answer"),
        **other,
    }


def trace_of(variant, number, answer):
    """Four paragraphs: the third derives the answer, the last repeats it; the base repeats itself once more."""
    noted = {2: SCRIPT, 3: REVERSED, 5: CONTROLS, 7: LONG_LINE}.get(number, ACCENTS) if variant == BASE else ACCENTS
    parts = [
        f"The question asks for the castle at milestone {number}. {noted}",
        "I look for the milestone first. Then I look for what stands there.",
        f"Beside milestone {number} stands {answer}. So it is {answer}.",
        f"Wait, let me check again. It is {answer}.",
    ]
    return "\n\n".join([*parts, "Let me check once more. Yes."] if variant == BASE else parts)


def odd_rollout(number, rollout_id):
    """What became of the base variant's second rollouts of some questions, which it answers wrong anyway."""
    if rollout_id != 2:
        return {}
    if number == 9:
        error = "http_500: the server broke down"
        usage = dict.fromkeys(("finish_reason", "prompt_tokens", "completion_tokens", "reasoning_tokens", "latency_ms"))
        return {**usage, "response": "", "reasoning": "", "content": "", "error": error, "attempts": 3}
    if number == 11:
        loop = "again and again and again the same words here " * 40
        return {"finish_reason": "length", "response": f"<think>\n{loop}", "reasoning": loop, "content": ""}
    if number == 13:
        return {"response": "<answer>Nowhere</answer>", "reasoning": "", "content": "<answer>Nowhere</answer>"}
    return {}


def rollout(study, row, variant, rollout_id):
    """One rollout of a question."""
    number = row["sample_id"]
    answer = gold(number) if is_right(variant, number) else "Mill"
    trace = trace_of(variant, number, answer)
    tokens = tokens_of(variant, number)
    columns = reply_columns(trace, f"<answer>{answer}</answer>", completion_tokens=tokens, reasoning_tokens=tokens - 10)
    messages = prompts.render("answer", documents=row["documents"], question=row["question"])
    sampling = study.sampling_of("tiny").model_dump(exclude_none=True, exclude={"extra"})
    request = Request("row", messages, {**sampling, "seed": study.seed + rollout_id})
    return {
        **columns,
        **(odd_rollout(number, rollout_id) if variant == BASE else {}),
        "dataset": row["dataset"],
        "variant": variant,
        "question_id": row["question_id"],
        "rollout_id": rollout_id,
        "checkpoint_digest": digest("weights", variant),
        "request_digest": request_digest(digest("weights", variant), request),
    }


def judge_reply(table, variant, number, judge):
    """What a judge says of a rollout, word by word; both agree but on the last question's verdict, and on what of
    the base's traces repeats itself."""
    right = is_right(variant, number)
    if table == "judge_verdicts" and number == 15:
        return f"I cannot say. {SCRIPT}"
    if table == "judge_verdicts":
        return "A" if right != (number == 20 and judge == "second-judge") else "B"
    if table == "answer_hits":
        return "YES" if right else "NO"
    if table == "rrp_scores":
        repeated = "[[M04]], [[M_END]]" if judge == "rule-judge" else "[[M_END]]"
        redundant = repeated if variant == BASE else "NONE"
        reached = "[[M03]]" if right else "[[M00]]"
        lines = (reached, redundant, "0.8", f"The answer is {'there' if right else 'not there'}. {ACCENTS}")
        names = ("ANSWER_PARAGRAPH_MARKER", "REDUNDANT_PARAGRAPH_MARKERS", "CONFIDENCE", "NOTES")
        return "\n".join(f"{name}: {value}" for name, value in zip(names, lines, strict=True))
    level, phases = (1, "3") if variant == BASE else (4, "1, 2, 3, 5")
    return f"L_OBS: {level}\nPHASES: {phases}\nCONFIDENCE: 0.7"


def judged(table, row, judge):
    """One row of a judged table, read from the judge's reply as the graph reads it.

    Args:
        table: judged table.
        row: a rollout joined with its question.
        judge: name of the judge.
    """
    task = TASKS[table]
    known = {
        **{name: row[name] for name in ("dataset", "variant", "question_id", "rollout_id", "checkpoint_digest")},
        **task.given(row),
        "judge": judge,
        "judge_digest": digest(judge),
        "scorer_version": scorer_version(table),
        "prompt_digest": prompts.digest(task.template),
        "attempts": 0,
        "reasks": 0,
        "parse_ok": False,
    }
    if row["error"] is not None:
        return known | {"status": "failed", "failure": "rollout_failed"}
    if (settled := task.settled(row)) is not None:
        return known | {"status": "scored", "parse_ok": True, **settled}
    reply = judge_reply(table, row["variant"], row["sample_id"], judge)
    known |= {"reply": reply, "attempts": 1, "judge_finish_reason": "stop", "judge_prompt_tokens": 400}
    known |= {"judge_completion_tokens": 12, "judge_latency_ms": 90.0}
    known["judge_request_digest"] = digest(table, row["variant"], row["question_id"], row["rollout_id"], judge)
    try:
        return known | {"status": "scored", "parse_ok": True, **task.read(reply, row)}
    except JudgeReplyError as error:
        return known | {"status": "unparseable", "failure": str(error)}
