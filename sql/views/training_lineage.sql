-- What each trained variant was trained on, row by row: the rows of its own training and, for GRPO after SFT, those of
-- the SFT checkpoint that it started from. Each row leads to its question and to the requests that made it: the
-- teacher's trace, the rollout that the trace rewrites, the gold solution that the teacher had beside it.
-- The view joins with `lineage` on variant, and on checkpoint_digest where only answers of the very weights count.
-- A link that does not exist is NULL: rows that were published have no request, synthesized ones no rollout; rows that
-- were made anew since the training have no checkpoint, sources that were made anew since have no request.
-- Rows that the trainer left out because they have too many tokens are shown (sft_checkpoints.rows_too_long counts
-- them); the questions of GRPO with drop_leaked are not, since which of them were dropped is not stored. External
-- checkpoints have no rows.
-- grain: variant, trainer, dataset, question_id, rollout_id, trace_id
-- inputs: training_sets, train_questions, train_rollouts, synthesized_traces, rewritten_traces, gold_solutions,
--   sft_checkpoints, grpo_checkpoints, checkpoints, trainings, partition_lineage, provenance
-- column variant: model__mode of the trained checkpoint
-- column trainer: sft or grpo: the training that used the row
-- column trained_variant: the variant whose training that was: this one, or the SFT variant that it started from
-- column dataset: training dataset
-- column question_id: the benchmark's own id of the question
-- column rollout_id: rollout that the row comes from; 0 for synthesized traces and for GRPO
-- column trace_id: trace that the row comes from; 0 for plain rollouts, synthesized traces and GRPO
-- column question: the question as asked
-- column answer: gold answer
-- column question_type: the benchmark's own type
-- column checkpoint_digest: digest of the variant's checkpoint that was trained on this very row
-- column checkpoint_uri: where it lies
-- column parent_digest: digest of the checkpoint that its training started from
-- column training_set_digest: digest of the rows of its own training
-- column is_checkpoint_changed: another checkpoint is registered for the variant by now; NULL where none is
-- column source_table: table that the row was taken from
-- column source_variant: variant of that table's partition; NULL for questions
-- column published_in: revision of the data set that the row there was published in; NULL where it was made here
-- column source_request_digest: identity of the request that made the row there: the trace's, or the rollout's
-- column rollout_request_digest: identity of the request of the rollout, as it was sampled
-- column rollout_checkpoint_digest: digest of the weights that sampled it
-- column solution_request_digest: identity of the request for the gold solution that the teacher was given
with
link as materialized (
    select *
    from partition_lineage
    where
        is_current
        and table_name in ('training_sets', 'rewritten_traces', 'sft_checkpoints', 'grpo_checkpoints')
),

-- The trainings that went into the weights of a variant: its own, and that of the SFT checkpoint before it.
used as (
    select
        variant,
        trainer,
        variant as trained_variant
    from trainings
    union all
    select
        trainings.variant,
        'sft' as trainer,
        trainings.parent_variant as trained_variant
    from trainings
    inner join link
        on
            trainings.variant = link.variant
            and link.table_name = 'grpo_checkpoints'
            and link.parent_table = 'sft_checkpoints'
),

weights as (
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

-- Datasets whose rows are still those that a variant was trained on.
fed as (
    select
        variant as trained_variant,
        parent_dataset as dataset
    from link
    where
        table_name in ('sft_checkpoints', 'grpo_checkpoints') and parent_table in ('training_sets', 'train_questions')
),

practised as (
    select
        trainings.variant as trained_variant,
        train_questions.dataset,
        train_questions.question_id,
        trainings.question_limit,
        row_number() over (
            partition by trainings.variant
            order by list_position(trainings.datasets, train_questions.dataset), train_questions.sample_id
        ) as place
    from trainings
    inner join train_questions on list_contains(trainings.datasets, train_questions.dataset)
    where trainings.trainer = 'grpo' and not trainings.drops_leaked
),

trained_on as (
    select
        used.variant,
        used.trainer,
        used.trained_variant,
        training_sets.dataset,
        training_sets.question_id,
        training_sets.rollout_id,
        training_sets.trace_id,
        trainings.source_table,
        trainings.source_variant
    from used
    inner join trainings on used.trained_variant = trainings.variant
    inner join training_sets on used.trained_variant = training_sets.variant
    where used.trainer = 'sft'
    union all
    select
        used.variant,
        used.trainer,
        used.trained_variant,
        practised.dataset,
        practised.question_id,
        0 as rollout_id,
        0 as trace_id,
        'train_questions' as source_table,
        null as source_variant
    from used
    inner join practised on used.trained_variant = practised.trained_variant
    where
        used.trainer = 'grpo'
        and (practised.question_limit is null or practised.place <= practised.question_limit)
),

-- What was published was never asked for: its digests are those of the data set.
asked as (
    select
        table_name,
        dataset,
        variant
    from provenance
    where source = '' and table_name in ('train_rollouts', 'gold_solutions')
),

drafted as (
    select train_rollouts.*
    from train_rollouts
    semi join asked
        on
            train_rollouts.dataset = asked.dataset
            and train_rollouts.variant = asked.variant
            and asked.table_name = 'train_rollouts'
),

solved as (
    select gold_solutions.*
    from gold_solutions
    semi join asked on gold_solutions.dataset = asked.dataset and asked.table_name = 'gold_solutions'
),

rewritten as (
    select
        rewritten_traces.dataset,
        rewritten_traces.variant,
        rewritten_traces.question_id,
        rewritten_traces.rollout_id,
        rewritten_traces.trace_id,
        rewritten_traces.request_digest,
        drafted.request_digest as rollout_request_digest,
        drafted.checkpoint_digest as rollout_checkpoint_digest,
        solved.request_digest as solution_request_digest
    from rewritten_traces
    left join link as drafts
        on
            rewritten_traces.dataset = drafts.dataset
            and rewritten_traces.variant = drafts.variant
            and drafts.table_name = 'rewritten_traces'
            and drafts.parent_table = 'train_rollouts'
    left join drafted
        on
            drafts.parent_dataset = drafted.dataset
            and drafts.parent_variant = drafted.variant
            and rewritten_traces.question_id = drafted.question_id
            and rewritten_traces.rollout_id = drafted.rollout_id
    left join link as solutions
        on
            rewritten_traces.dataset = solutions.dataset
            and rewritten_traces.variant = solutions.variant
            and solutions.table_name = 'rewritten_traces'
            and solutions.parent_table = 'gold_solutions'
    left join solved
        on
            solutions.parent_dataset = solved.dataset
            and rewritten_traces.question_id = solved.question_id
),

source as (
    select
        'rewritten_traces' as table_name,
        *
    from rewritten
    union all
    select
        'synthesized_traces' as table_name,
        dataset,
        variant,
        question_id,
        0 as rollout_id,
        0 as trace_id,
        request_digest,
        null as rollout_request_digest,
        null as rollout_checkpoint_digest,
        null as solution_request_digest
    from synthesized_traces
    union all
    select
        'train_rollouts' as table_name,
        dataset,
        variant,
        question_id,
        rollout_id,
        0 as trace_id,
        request_digest,
        request_digest as rollout_request_digest,
        checkpoint_digest as rollout_checkpoint_digest,
        null as solution_request_digest
    from train_rollouts
),

published as (
    select
        table_name,
        dataset,
        variant,
        source
    from provenance
    where source <> '' and table_name in ('train_rollouts', 'synthesized_traces', 'rewritten_traces')
)

select  -- noqa: ST06
    trained_on.variant,
    trained_on.trainer,
    trained_on.trained_variant,
    trained_on.dataset,
    trained_on.question_id,
    trained_on.rollout_id,
    trained_on.trace_id,
    question.question,
    question.answer,
    question.question_type,
    weights.digest as checkpoint_digest,
    weights.uri as checkpoint_uri,
    weights.parent_digest,
    weights.training_set_digest,
    registered.digest <> weights.digest as is_checkpoint_changed,
    trained_on.source_table,
    trained_on.source_variant,
    published.source as published_in,
    case when published.source is null then source.request_digest end as source_request_digest,
    case when published.source is null then source.rollout_request_digest end as rollout_request_digest,
    case when published.source is null then source.rollout_checkpoint_digest end as rollout_checkpoint_digest,
    source.solution_request_digest
from trained_on
left join train_questions as question
    on trained_on.dataset = question.dataset and trained_on.question_id = question.question_id
left join fed on trained_on.trained_variant = fed.trained_variant and trained_on.dataset = fed.dataset
left join weights on trained_on.variant = weights.variant and fed.trained_variant is not null
left join checkpoints as registered on trained_on.variant = registered.variant
left join link as taken
    on
        trained_on.trained_variant = taken.variant
        and trained_on.dataset = taken.dataset
        and trained_on.source_table = taken.parent_table
        and taken.table_name = 'training_sets'
left join source
    on
        taken.parent_table = source.table_name
        and taken.parent_dataset = source.dataset
        and taken.parent_variant = source.variant
        and trained_on.question_id = source.question_id
        and trained_on.rollout_id = source.rollout_id
        and trained_on.trace_id = source.trace_id
left join published
    on
        taken.parent_table = published.table_name
        and taken.parent_dataset = published.dataset
        and taken.parent_variant = published.variant
