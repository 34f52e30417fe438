-- What every cell cost: requests, tokens and seconds of its rollouts and of each judge; and the same for what training
-- was made from, by training dataset. Seconds add up the last try of each request; requests run side by side, so that
-- less time passes on the clock. Judge tables keep no times: their seconds are NULL.
-- Gold solutions and traces are the teacher's work; gold solutions stand under its base variant.
-- grain: dataset, variant, asset, generator
-- inputs: validation_rollouts, judge_verdicts, answer_hits, rrp_scores, mqi_scores, train_rollouts, gold_solutions,
--   synthesized_traces, rewritten_traces, variants
-- column dataset: dataset, or training dataset, of the rows
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column asset: table that the tokens went into
-- column generator: model that generated the tokens: the variant's own, a judge or the teacher
-- column n_requests: rows that a request was sent for
-- column n_failed: requests that failed
-- column attempts: tries, the failed ones included
-- column prompt_tokens: tokens of the prompts, by the server
-- column completion_tokens: tokens generated, reasoning included, by the server
-- column seconds: sum of the requests' durations
with
teacher as (
    select coalesce(min(model), 'teacher') as slug
    from variants
    where model_role = 'teacher'
),

request as (
    select
        dataset,
        variant,
        'validation_rollouts' as asset,
        split_part(variant, '__', 1) as generator,
        error is not null as failed,
        attempts,
        prompt_tokens,
        completion_tokens,
        latency_ms
    from validation_rollouts
    union all by name
    select
        dataset,
        variant,
        'train_rollouts' as asset,
        split_part(variant, '__', 1) as generator,
        error is not null as failed,
        attempts,
        prompt_tokens,
        completion_tokens,
        latency_ms
    from train_rollouts
    union all by name
    select
        gold_solutions.dataset,
        teacher.slug || '__base' as variant,
        'gold_solutions' as asset,
        teacher.slug as generator,
        gold_solutions.error is not null as failed,
        gold_solutions.attempts,
        gold_solutions.prompt_tokens,
        gold_solutions.completion_tokens,
        gold_solutions.latency_ms
    from gold_solutions
    cross join teacher
    union all by name
    select
        synthesized_traces.dataset,
        synthesized_traces.variant,
        'synthesized_traces' as asset,
        teacher.slug as generator,
        synthesized_traces.error is not null as failed,
        synthesized_traces.attempts,
        synthesized_traces.prompt_tokens,
        synthesized_traces.completion_tokens,
        synthesized_traces.latency_ms
    from synthesized_traces
    cross join teacher
    union all by name
    select
        rewritten_traces.dataset,
        rewritten_traces.variant,
        'rewritten_traces' as asset,
        teacher.slug as generator,
        rewritten_traces.error is not null as failed,
        rewritten_traces.attempts,
        rewritten_traces.prompt_tokens,
        rewritten_traces.completion_tokens,
        rewritten_traces.latency_ms
    from rewritten_traces
    cross join teacher
    union all by name
    select
        dataset,
        variant,
        'judge_verdicts' as asset,
        judge as generator,
        status = 'failed' as failed,
        attempts,
        judge_prompt_tokens as prompt_tokens,
        judge_completion_tokens as completion_tokens
    from judge_verdicts
    union all by name
    select
        dataset,
        variant,
        'answer_hits' as asset,
        judge as generator,
        status = 'failed' as failed,
        attempts,
        judge_prompt_tokens as prompt_tokens,
        judge_completion_tokens as completion_tokens
    from answer_hits
    union all by name
    select
        dataset,
        variant,
        'rrp_scores' as asset,
        judge as generator,
        status = 'failed' as failed,
        attempts,
        judge_prompt_tokens as prompt_tokens,
        judge_completion_tokens as completion_tokens
    from rrp_scores
    union all by name
    select
        dataset,
        variant,
        'mqi_scores' as asset,
        judge as generator,
        status = 'failed' as failed,
        attempts,
        judge_prompt_tokens as prompt_tokens,
        judge_completion_tokens as completion_tokens
    from mqi_scores
)

select  -- noqa: ST06
    dataset,
    split_part(variant, '__', 1) as model,  -- noqa: RF04
    split_part(variant, '__', 2) as mode,  -- noqa: RF04
    variant,
    asset,
    generator,
    count(*) filter (where attempts > 0) as n_requests,
    count(*) filter (where attempts > 0 and failed) as n_failed,
    sum(attempts)::bigint as attempts,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(latency_ms) / 1000 as seconds
from request
group by dataset, variant, asset, generator
order by dataset, variant, asset, generator
