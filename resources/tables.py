"""The schema of every lake table, declared once: it serves checks on write and read, UI metadata and empty views.

A table's primary key is what its rows are joined by; a column's description shows in the UI.
"""

from __future__ import annotations

from functools import partial

import dataframely as dy

from partitions.grid import CELL_SQL, MARTS, SCORES

Table = type[dy.Schema]

_dataset = partial(dy.String, description="dataset of the study")
_variant = partial(dy.String, description="model__mode")
_question_id = partial(dy.String, description="the benchmark's own id of the question")
_rollout_id = partial(dy.Int64, description="number of the rollout of this question, from 1", min=1)
_digest = partial(dy.String, description="sha256, hex")
_count = partial(dy.Int64, min=0)
_rate = partial(dy.Float64, min=0.0, max=1.0)
_milliseconds = partial(dy.Float64, min=0.0)


class Questions(dy.Schema):
    """Questions of a benchmark split, whatever the benchmark."""

    dataset = _dataset()
    question_id = _question_id(primary_key=True)
    sample_id = dy.Int64(description="1-based position in the split, for comparison with the reference only", min=1)
    question = dy.String(description="the question as asked")
    answer = dy.String(description="gold answer")
    aliases = dy.List(dy.String(), description="other accepted answers")
    documents = dy.List(
        dy.Struct({"title": dy.String(), "sentences": dy.List(dy.String()), "is_supporting": dy.Bool()}),
        description="what the question is asked about; empty for closed-book questions",
    )
    supporting_facts = dy.List(
        dy.Struct({"title": dy.String(), "sentence": dy.Int64()}),
        description="sentences that the answer follows from: document title and 0-based sentence",
    )
    question_type = dy.String(nullable=True, description="the benchmark's own type")
    level = dy.String(nullable=True, description="the benchmark's own level")
    tier = dy.String(description="difficulty", check=lambda c: c.is_in(["easy", "medium", "hard"]))
    answerable = dy.Bool(description="false where the documents do not hold the answer")


class BaseModels(dy.Schema):
    """Base models, resolved to what exactly they are."""

    variant = _variant(primary_key=True)
    model = dy.String(description="model of the study")
    uri = dy.String(description="folder, or hub://repo@revision, or rules://name")
    revision = dy.String(nullable=True, description="commit on the Hub")
    digest = _digest(description="sha256 of weights and tokenizer, or of what pins them")


class Responses(dy.Schema):
    """What every table of generated rows holds about its request and reply."""

    response = dy.String(description="the full text, reasoning included")
    reasoning = dy.String(description="the reasoning alone; empty where there was none")
    content = dy.String(description="the reply without its reasoning")
    finish_reason = dy.String(nullable=True, description="stop, length, …; null when the request failed")
    prompt_tokens = _count(nullable=True, description="tokens of the prompt, by the server")
    cached_tokens = _count(nullable=True, description="of prompt_tokens, those in the server's cache")
    completion_tokens = _count(nullable=True, description="tokens generated, reasoning included, by the server")
    reasoning_tokens = _count(nullable=True, description="of completion_tokens, those of the reasoning")
    error = dy.String(nullable=True, description="why the request failed; null when it went well")
    attempts = _count(description="tries that were made")
    length_retries = _count(description="of these, new draws because the token limit had ended a response")
    discarded_tokens = _count(description="tokens of the responses that were given up for that")
    queue_ms = _milliseconds(nullable=True, description="milliseconds that the request waited before the last try")
    latency_ms = _milliseconds(nullable=True, description="milliseconds of the last try, from sending to last byte")
    request_digest = _digest(description="identity of the request: model, messages, sampling, seed")
    prompt_digest = _digest(description="sha256 of the prompt template")


class Rollouts(Responses):
    """Sampled responses, one row per rollout."""

    dataset = _dataset()
    variant = _variant()
    question_id = _question_id(primary_key=True)
    rollout_id = _rollout_id(primary_key=True)
    checkpoint_digest = _digest(description="digest of the weights that answered")


class GoldSolutions(Responses):
    """The teacher's worked solution of each training question."""

    dataset = _dataset()
    question_id = _question_id(primary_key=True)
    solution = dy.String(nullable=True, description="the worked solution; null when the reply held none")


class SynthesizedTraces(Responses):
    """MBT-S: five-phase traces that the teacher wrote from the question alone."""

    dataset = _dataset()
    variant = _variant()
    question_id = _question_id(primary_key=True)
    trace = dy.String(nullable=True, description="the trace; null when the reply held none")


class RewrittenTraces(Responses):
    """Rollouts that the teacher rewrote, into five phases or with no prescribed structure."""

    dataset = _dataset()
    variant = _variant(description="whose rollouts, and how they were rewritten")
    question_id = _question_id(primary_key=True)
    rollout_id = _rollout_id(primary_key=True)
    trace_id = dy.Int64(primary_key=True, description="number of the rewrite of this rollout, from 1", min=1)
    trace = dy.String(nullable=True, description="the rewritten trace; null when the reply held none")


class TrainingSets(dy.Schema):
    """What a student is fine-tuned on: prompt and completion."""

    dataset = _dataset()
    variant = _variant()
    question_id = _question_id(primary_key=True)
    rollout_id = dy.Int64(primary_key=True, description="rollout it comes from; 0 for synthesized traces", min=0)
    trace_id = dy.Int64(primary_key=True, description="trace it comes from; 0 for plain rollouts", min=0)
    prompt = dy.List(dy.Struct({"role": dy.String(), "content": dy.String()}), description="chat messages")
    completion = dy.String(description="the text that the loss is taken on")


class Checkpoints(dy.Schema):
    """Registry of every variant's weights."""

    variant = _variant(primary_key=True)
    model = dy.String(description="model of the study")
    mode = dy.String(description="mode of the study")
    kind = dy.String(description="base, prompt, sft, grpo or external")
    uri = dy.String(description="folder, or hub://repo@revision, or rules://name")
    digest = _digest(description="sha256 of weights and tokenizer, or of what pins them")
    parent_digest = _digest(nullable=True, description="digest of the checkpoint that training started from")
    training_set_digest = _digest(nullable=True, description="digest of the rows that it was trained on")


CURVE = {
    "step": dy.Int64(),
    "epoch": dy.Float64(nullable=True),
    "loss": dy.Float64(nullable=True),
    "learning_rate": dy.Float64(nullable=True),
    "grad_norm": dy.Float64(nullable=True),
    "reward": dy.Float64(nullable=True),
    "reward_exact_match": dy.Float64(nullable=True),
    "reward_well_formed": dy.Float64(nullable=True),
    "tokens_per_second": dy.Float64(nullable=True),
    "memory_mb": dy.Float64(nullable=True),
}
"""What is kept of each of a training's log lines; rewards are means, and of GRPO alone."""


class TrainedCheckpoints(Checkpoints):
    """Checkpoints that a payload trained, with how training went."""

    rows = _count(description="rows it was trained on")
    rows_too_long = _count(description="rows that were left out because they have more tokens than max_length")
    steps = _count(description="optimizer steps")
    final_loss = dy.Float64(nullable=True, description="mean loss of the last steps (nats per token)")
    seconds = dy.Float64(description="training time in seconds", min=0)
    tokens = _count(description="tokens that went through training")
    tokens_per_second = dy.Float64(nullable=True, description="of training alone, set-up not counted", min=0)
    peak_memory_mb = dy.Float64(nullable=True, description="of the GPU, or of the process on the CPU; MiB", min=0)
    curve = dy.List(dy.Struct(CURVE), description="loss, learning rate and more at each logged step")


class AnswerScores(dy.Schema):
    """Answer scores of each rollout (no judge), and whether it degenerated."""

    dataset = _dataset()
    variant = _variant()
    question_id = _question_id(primary_key=True)
    rollout_id = _rollout_id(primary_key=True)
    predicted_answer = dy.String(description="text inside the answer tags; empty when there is none")
    normalized_prediction = dy.String(description="the prediction as it is compared")
    answer_found = dy.Bool(description="both answer tags were there")
    exact_match = _rate(description="1 if the normalised prediction is a gold answer or alias")
    substring_match = _rate(description="1 if a gold answer or alias stands in the prediction")
    f1 = _rate(description="best token F1 over gold and aliases, with HotpotQA's yes/no rule")
    f1_plain = _rate(description="best token F1 without that rule")
    unscorable_gold = dy.Bool(description="every gold answer is empty after normalisation")
    completion_tokens = _count(nullable=True, description="response tokens; null when the request failed")
    truncated = dy.Bool(description="the server stopped for length")
    looping = dy.Bool(description="a window of 8 tokens repeats at least 6 times")
    degenerate = dy.Bool(description="truncated or looping")
    empty_reasoning = dy.Bool(description="a reply without any reasoning")
    failed = dy.Bool(description="the request itself failed")
    checkpoint_digest = _digest(description="digest of the weights that answered")
    scorer_version = dy.String(description="version of the scoring code")


class Judgments(dy.Schema):
    """What every table of judges' replies holds; whatever a reply says is null unless `status` is scored."""

    dataset = _dataset()
    variant = _variant()
    question_id = _question_id(primary_key=True)
    rollout_id = _rollout_id(primary_key=True)
    judge = dy.String(primary_key=True, description="model of the study that judged")
    status = dy.String(
        description="scored, unparseable or failed", check=lambda c: c.is_in(["scored", "unparseable", "failed"])
    )
    failure = dy.String(nullable=True, description="why there is no score; begins with too_long for a long prompt")
    reply = dy.String(nullable=True, description="the judge's raw reply, the last one where it was asked again")
    attempts = _count(description="tries of the judge request, those of asking again included")
    reasks = _count(description="further replies that were asked for because those before did not parse")
    prompt_digest = _digest(description="sha256 of the prompt template")
    judge_digest = _digest(description="digest of the judge")
    checkpoint_digest = _digest(description="digest of the weights that answered")
    scorer_version = dy.String(description="version of the parser and score")
    judge_finish_reason = dy.String(nullable=True, description="why the judge's reply ended: stop, length, …")
    judge_prompt_tokens = _count(nullable=True, description="tokens of the judge's prompt")
    judge_cached_tokens = _count(nullable=True, description="of these, those in the server's cache")
    judge_completion_tokens = _count(nullable=True, description="tokens the judge generated, reasoning included")
    judge_reasoning_tokens = _count(nullable=True, description="of these, those of its reasoning")
    judge_length_retries = _count(nullable=True, description="new draws because the token limit had ended a reply")
    judge_discarded_tokens = _count(
        nullable=True, description="tokens of the replies that were given up, for that or because they did not parse"
    )
    judge_queue_ms = _milliseconds(nullable=True, description="milliseconds that the request waited")
    judge_latency_ms = _milliseconds(nullable=True, description="milliseconds of the last try")
    judge_request_digest = _digest(
        nullable=True, description="identity of the request that this reply is to; null where nothing was asked"
    )


class Judged(Judgments):
    """What every judged table holds; a score is null unless `status` is scored."""

    parse_ok = dy.Bool(description="the judge's reply could be parsed")


class JudgeVerdicts(Judged):
    """Does the predicted answer mean the gold one?"""

    verdict = dy.String(nullable=True, description="A correct, B incorrect, C not attempted")
    judge_correct = _rate(nullable=True, description="1 for A, 0 for B and C")


class AnswerHits(Judged):
    """Does the reasoning derive the gold answer anywhere?"""

    answer_hit = _rate(nullable=True, description="1 if the judge says that the reasoning derives the gold answer")
    substring_hit = _rate(description="1 if a gold answer or alias stands in the reasoning, case-folded")


class RrpScores(Judged):
    """Reach-Redundancy Profile of each reasoning trace."""

    answer_paragraph = _count(nullable=True, description="paragraph that first derives the gold answer; 0 if none")
    first_correct = dy.Int64(nullable=True, description="sentences up to the end of that paragraph; -1 if none")
    redundant_paragraphs = dy.List(dy.Int64(), nullable=True, description="numbers of redundant paragraphs")
    redundant_sentences = _count(nullable=True, description="sentences in them")
    total_sentences = _count(nullable=True, description="sentences of the trace")
    redundant_fraction = _rate(nullable=True, description="redundant share of the sentences (δ)")
    arrival = _rate(nullable=True, description="share of the trace until the answer is derived (ρ)")
    regulation = _rate(nullable=True, description="harmonic mean of 1 − ρ and 1 − δ (R)")
    confidence = _rate(nullable=True, description="the judge's confidence")


class MqiScores(Judged):
    """Metacognitive quality of each reasoning trace."""

    l_obs = dy.Int64(nullable=True, description="observed level, 0 to 5", min=0, max=5)
    phases = dy.List(dy.Int64(), nullable=True, description="phases that are there, 1 to 5")
    confidence = _rate(nullable=True, description="the judge's confidence in the final answer")
    tier = dy.String(description="difficulty tier of the question")


class JudgeRetests(Judgments):
    """A sample of each cell's rollouts, judged a second time: how far does a judge agree with itself?

    Only what was scored by asking is asked again, so that each row has its counterpart in the table `score`.
    """

    score = dy.String(primary_key=True, description="judged table that the question is of")
    kind = dy.String(
        primary_key=True,
        description="retest: the same question with another seed; renumbered: other numbers on the paragraphs' markers",
        check=lambda c: c.is_in(["retest", "renumbered"]),
    )
    label = dy.String(
        nullable=True,
        description="verdict letter, YES or NO, number of the answer paragraph in the trace's own order, or l_obs",
    )
    arrival = _rate(nullable=True, description="rrp_scores: share of the trace until the answer is derived (ρ)")
    redundant_fraction = _rate(nullable=True, description="rrp_scores: redundant share of the sentences (δ)")
    regulation = _rate(nullable=True, description="rrp_scores: harmonic mean of 1 − ρ and 1 − δ (R)")


TABLES: dict[str, Table] = {
    "train_questions": Questions,
    "validation_questions": Questions,
    "base_models": BaseModels,
    "train_rollouts": Rollouts,
    "gold_solutions": GoldSolutions,
    "synthesized_traces": SynthesizedTraces,
    "rewritten_traces": RewrittenTraces,
    "training_sets": TrainingSets,
    "sft_checkpoints": TrainedCheckpoints,
    "grpo_checkpoints": TrainedCheckpoints,
    "checkpoints": Checkpoints,
    "validation_rollouts": Rollouts,
    "answer_scores": AnswerScores,
    "judge_verdicts": JudgeVerdicts,
    "answer_hits": AnswerHits,
    "rrp_scores": RrpScores,
    "mqi_scores": MqiScores,
    "judge_retests": JudgeRetests,
}
"""Tables whose schema is fixed here. A cell's figures and the marts take theirs from their SQL."""

SQL_TABLES = (*CELL_SQL, *MARTS)
LAKE_TABLES = (*TABLES, *SQL_TABLES)
JUDGED_TABLES = SCORES[1:]
