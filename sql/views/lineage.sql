-- Every rollout of the validation questions with where it comes from and what became of it: its question, its request,
-- the checkpoint that answered, its scores and what the primary judge said. All links are by stable ids.
-- A link that does not exist is NULL. Scores that were made of other rollouts than those that are there now (a re-score
-- is under way, or was cut off) are no link, and neither is a registry row of other weights than those that answered.
-- Rollouts that were imported have no request, and no checkpoint but the one that whoever imported them named.
-- Texts stand in the tables themselves, under the same keys: the response in validation_rollouts, a judge's raw reply
-- in its judged table (with the column judge).
-- grain: dataset, variant, question_id, rollout_id
-- inputs: validation_rollouts, validation_questions, checkpoints, sft_checkpoints, grpo_checkpoints, provenance,
--   answer_scores, judge_verdicts, answer_hits, rrp_scores, mqi_scores, variants, settings
-- column dataset: dataset of the cell
-- column variant: model__mode
-- column question_id: the benchmark's own id of the question
-- column rollout_id: number of the rollout of this question, from 1
-- column model: model of the variant
-- column mode: mode of the variant
-- column question: the question as asked
-- column answer: gold answer
-- column question_type: the benchmark's own type
-- column tier: difficulty of the question
-- column rollout_source: file that the rollouts were imported from; NULL where they were made here
-- column request_digest: identity of the request that the rollout is the reply to
-- column prompt_digest: sha256 of the prompt template
-- column finish_reason: how the response ended; NULL when the request failed
-- column error: why the request failed
-- column checkpoint_digest: digest of the weights that answered; of the rows themselves, where they were imported and
--   nobody said which weights answered
-- column checkpoint_uri: where those weights lie; NULL where the registry knows them no more
-- column parent_digest: digest of the checkpoint that their training started from
-- column training_set_digest: digest of the rows that they were trained on
-- column registered_digest: digest of the checkpoint that is registered for the variant now
-- column is_checkpoint_changed: another checkpoint than the one that answered is registered by now; NULL where none is,
--   or where the rollouts were imported
-- column predicted_answer: text inside the answer tags
-- column exact_match: 1 if the normalised prediction is a gold answer or alias
-- column f1: best token F1 over gold and aliases
-- column completion_tokens: response tokens, reasoning included, by the server
-- column judge: the primary judge, whose scores follow
-- column verdict_status: scored, unparseable or failed
-- column verdict: A correct, B incorrect, C not attempted
-- column judge_correct: 1 for A, 0 for B and C
-- column verdict_request_digest: identity of the judge's request; NULL where nothing was asked
-- column hit_status: scored, unparseable or failed
-- column answer_hit: 1 if the judge says that the reasoning derives the gold answer
-- column hit_request_digest: identity of the judge's request
-- column rrp_status: scored, unparseable or failed
-- column arrival: share of the trace until the answer is derived
-- column redundant_fraction: redundant share of the sentences
-- column regulation: harmonic mean of 1 - arrival and 1 - redundant_fraction
-- column rrp_request_digest: identity of the judge's request
-- column mqi_status: scored, unparseable or failed
-- column l_obs: observed level of MQI, 0 to 5
-- column mqi_request_digest: identity of the judge's request
with
origin as (
    select
        dataset,
        variant,
        data_version,
        nullif(source, '') as imported_from
    from provenance
    where table_name = 'validation_rollouts'
),

-- For each table of scores the cells whose rows were made of the rollouts that are there.
made as (
    select
        score.table_name,
        score.dataset,
        score.variant
    from provenance as score
    inner join origin on score.dataset = origin.dataset and score.variant = origin.variant
    where
        score.table_name in ('answer_scores', 'judge_verdicts', 'answer_hits', 'rrp_scores', 'mqi_scores')
        and score.inputs ->> ('$."validation_rollouts[' || score.partition || ']"') = origin.data_version
),

answers as (
    select answer_scores.*
    from answer_scores
    semi join made
        on
            answer_scores.dataset = made.dataset
            and answer_scores.variant = made.variant
            and made.table_name = 'answer_scores'
),

verdicts as (
    select judge_verdicts.*
    from judge_verdicts
    inner join settings on judge_verdicts.judge = settings.primary_judge
    semi join made
        on
            judge_verdicts.dataset = made.dataset
            and judge_verdicts.variant = made.variant
            and made.table_name = 'judge_verdicts'
),

hits as (
    select answer_hits.*
    from answer_hits
    inner join settings on answer_hits.judge = settings.primary_judge
    semi join made
        on answer_hits.dataset = made.dataset and answer_hits.variant = made.variant and made.table_name = 'answer_hits'
),

profiles as (
    select rrp_scores.*
    from rrp_scores
    inner join settings on rrp_scores.judge = settings.primary_judge
    semi join made
        on rrp_scores.dataset = made.dataset and rrp_scores.variant = made.variant and made.table_name = 'rrp_scores'
),

levels as (
    select mqi_scores.*
    from mqi_scores
    inner join settings on mqi_scores.judge = settings.primary_judge
    semi join made
        on mqi_scores.dataset = made.dataset and mqi_scores.variant = made.variant and made.table_name = 'mqi_scores'
),

-- Whatever the lake knows of weights: a registry row follows the files, a trained checkpoint's row its training.
known as (
    select
        variant,
        digest,
        uri,
        parent_digest,
        training_set_digest
    from checkpoints
    union all
    select
        variant,
        digest,
        uri,
        parent_digest,
        training_set_digest
    from sft_checkpoints
    union all
    select
        variant,
        digest,
        uri,
        parent_digest,
        training_set_digest
    from grpo_checkpoints
),

weights as (
    select
        variant,
        digest,
        any_value(uri) as uri,
        any_value(parent_digest) as parent_digest,
        any_value(training_set_digest) as training_set_digest
    from known
    group by variant, digest
)

select  -- noqa: ST06
    rollout.dataset,
    rollout.variant,
    rollout.question_id,
    rollout.rollout_id,
    variants.model,
    variants.mode,
    question.question,
    question.answer,
    question.question_type,
    question.tier,
    origin.imported_from as rollout_source,
    case when origin.imported_from is null then rollout.request_digest end as request_digest,
    case when origin.imported_from is null then rollout.prompt_digest end as prompt_digest,
    rollout.finish_reason,
    rollout.error,
    rollout.checkpoint_digest,
    weights.uri as checkpoint_uri,
    weights.parent_digest,
    weights.training_set_digest,
    registered.digest as registered_digest,
    case
        when origin.imported_from is null then registered.digest <> rollout.checkpoint_digest
    end as is_checkpoint_changed,
    answers.predicted_answer,
    answers.exact_match,
    answers.f1,
    rollout.completion_tokens,
    settings.primary_judge as judge,
    verdicts.status as verdict_status,
    verdicts.verdict,
    verdicts.judge_correct,
    verdicts.judge_request_digest as verdict_request_digest,
    hits.status as hit_status,
    hits.answer_hit,
    hits.judge_request_digest as hit_request_digest,
    profiles.status as rrp_status,
    profiles.arrival,
    profiles.redundant_fraction,
    profiles.regulation,
    profiles.judge_request_digest as rrp_request_digest,
    levels.status as mqi_status,
    levels.l_obs,
    levels.judge_request_digest as mqi_request_digest
from validation_rollouts as rollout
cross join settings
left join variants on rollout.variant = variants.variant
left join validation_questions as question
    on rollout.dataset = question.dataset and rollout.question_id = question.question_id
left join origin on rollout.dataset = origin.dataset and rollout.variant = origin.variant
left join weights on rollout.variant = weights.variant and rollout.checkpoint_digest = weights.digest
left join checkpoints as registered on rollout.variant = registered.variant
left join answers
    on
        rollout.dataset = answers.dataset
        and rollout.variant = answers.variant
        and rollout.question_id = answers.question_id
        and rollout.rollout_id = answers.rollout_id
left join verdicts
    on
        rollout.dataset = verdicts.dataset
        and rollout.variant = verdicts.variant
        and rollout.question_id = verdicts.question_id
        and rollout.rollout_id = verdicts.rollout_id
left join hits
    on
        rollout.dataset = hits.dataset
        and rollout.variant = hits.variant
        and rollout.question_id = hits.question_id
        and rollout.rollout_id = hits.rollout_id
left join profiles
    on
        rollout.dataset = profiles.dataset
        and rollout.variant = profiles.variant
        and rollout.question_id = profiles.question_id
        and rollout.rollout_id = profiles.rollout_id
left join levels
    on
        rollout.dataset = levels.dataset
        and rollout.variant = levels.variant
        and rollout.question_id = levels.question_id
        and rollout.rollout_id = levels.rollout_id
