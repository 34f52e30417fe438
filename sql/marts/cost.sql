-- What every cell cost: requests, tokens, time and money of its rollouts and of each judge; and the same for what
-- training was made from, by training dataset. Gold solutions and traces are the teacher's work; gold solutions stand
-- under its base variant.
-- Money is what the rows that are there cost to generate once, at the study's price of each model: prompt and
-- completion tokens, reasoning included, and those of responses that were given up, for their length or because a
-- judge's reply did not parse. A failed request is taken to cost nothing, and a prompt whose cached tokens the server
-- does not tell to have none. Where the price or a token count is not known, money is NULL, never 0. A model's own
-- hardware has no price.
-- Times are those of each request's last try. Requests run side by side, so that less time passes on the clock.
-- grain: dataset, variant, asset, generator
-- inputs: validation_rollouts, judge_verdicts, answer_hits, rrp_scores, mqi_scores, judge_retests, train_rollouts,
--   gold_solutions, synthesized_traces, rewritten_traces, models, settings
-- column dataset: dataset, or training dataset, of the rows
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column asset: table that the tokens went into
-- column generator: model that generated the tokens: the variant's own, a judge or the teacher
-- column n_requests: rows that a request was sent for
-- column n_failed: requests that failed
-- column n_truncated: replies that the token limit ended
-- column n_uncounted: replies whose tokens the server did not count
-- column attempts: tries, the failed ones included
-- column prompt_tokens: tokens of the prompts, by the server
-- column cached_tokens: of prompt_tokens, those that the server had in its cache
-- column completion_tokens: tokens generated, reasoning included, by the server
-- column reasoning_tokens: of completion_tokens, those of the reasoning, where the server tells
-- column n_reasks: replies of a judge that were asked for once more because they did not parse
-- column discarded_tokens: tokens of responses that were given up, for either reason; beside completion_tokens
-- column mean_queue_ms: mean wait of a request before it was sent, in milliseconds
-- column mean_latency_ms: mean time from sending a request to its last byte: the server's part
-- column p95_latency_ms: 95th percentile of that time, interpolated
-- column queue_seconds: sum of the waits
-- column seconds: sum of the server's times
-- column cost: money, in currency; NULL where price or tokens are not known
-- column currency: of the price
-- column total_cost: cost of all that was generated for this dataset and variant; NULL where a part of it is not known
--   or in another currency
with
generated as (
    select
        *,
        'validation_rollouts' as asset,
        split_part(variant, '__', 1) as generator
    from validation_rollouts
    union all by name
    select
        *,
        'train_rollouts' as asset,
        split_part(variant, '__', 1) as generator
    from train_rollouts
    union all by name
    select
        gold_solutions.*,
        settings.teacher || '__base' as variant,
        'gold_solutions' as asset,
        settings.teacher as generator
    from gold_solutions
    cross join settings
    union all by name
    select
        synthesized_traces.*,
        'synthesized_traces' as asset,
        settings.teacher as generator
    from synthesized_traces
    cross join settings
    union all by name
    select
        rewritten_traces.*,
        'rewritten_traces' as asset,
        settings.teacher as generator
    from rewritten_traces
    cross join settings
),

judged as (
    select
        *,
        'judge_verdicts' as asset
    from judge_verdicts
    union all by name
    select
        *,
        'answer_hits' as asset
    from answer_hits
    union all by name
    select
        *,
        'rrp_scores' as asset
    from rrp_scores
    union all by name
    select
        *,
        'mqi_scores' as asset
    from mqi_scores
    union all by name
    select
        *,
        'judge_retests' as asset
    from judge_retests
),

request as (
    select
        dataset,
        variant,
        asset,
        generator,
        error is not null as failed,
        error is null as has_tokens,
        finish_reason,
        attempts,
        length_retries,
        0 as reasks,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        reasoning_tokens,
        discarded_tokens,
        queue_ms,
        latency_ms
    from generated
    union all by name
    select
        dataset,
        variant,
        asset,
        judge as generator,
        status = 'failed' as failed,
        status != 'failed' and attempts > 0 as has_tokens,
        judge_finish_reason as finish_reason,
        attempts,
        judge_length_retries as length_retries,
        reasks,
        judge_prompt_tokens as prompt_tokens,
        judge_cached_tokens as cached_tokens,
        judge_completion_tokens as completion_tokens,
        judge_reasoning_tokens as reasoning_tokens,
        judge_discarded_tokens as discarded_tokens,
        judge_queue_ms as queue_ms,
        judge_latency_ms as latency_ms
    from judged
),

-- A profile that no judge was asked for, and a failed request, have no tokens and cost nothing.
billed as (
    select
        *,
        has_tokens and (prompt_tokens is null or completion_tokens is null) as uncounted,
        coalesce(prompt_tokens, 0) as prompt,
        coalesce(cached_tokens, 0) as cached,
        coalesce(completion_tokens, 0) + coalesce(discarded_tokens, 0) as written,
        1 + coalesce(length_retries, 0) + reasks as sendings
    from request
),

priced as (
    select
        billed.*,
        models.currency,
        (
            models.price_input * (billed.prompt * billed.sendings - billed.cached)
            + coalesce(models.price_cached_input, models.price_input) * billed.cached
            + models.price_output * billed.written
        ) / 1e6 as paid
    from billed
    left join models on billed.generator = models.model
),

summed as (
    select
        dataset,
        variant,
        asset,
        generator,
        count(*) filter (where attempts > 0) as n_requests,
        count(*) filter (where attempts > 0 and failed) as n_failed,
        count(*) filter (where finish_reason = 'length') as n_truncated,
        count(*) filter (where uncounted) as n_uncounted,
        sum(attempts)::bigint as attempts,
        sum(prompt_tokens)::bigint as prompt_tokens,
        sum(cached_tokens)::bigint as cached_tokens,
        sum(completion_tokens)::bigint as completion_tokens,
        sum(reasoning_tokens)::bigint as reasoning_tokens,
        sum(reasks)::bigint as n_reasks,
        sum(discarded_tokens)::bigint as discarded_tokens,
        avg(queue_ms) as mean_queue_ms,
        avg(latency_ms) as mean_latency_ms,
        quantile_cont(latency_ms, 0.95) as p95_latency_ms,
        sum(queue_ms) / 1000 as queue_seconds,
        sum(latency_ms) / 1000 as seconds,
        case when not bool_or(uncounted) then sum(paid) end as cost,  -- noqa: RF04
        any_value(currency) as currency
    from priced
    group by dataset, variant, asset, generator
)

select  -- noqa: ST06
    dataset,
    split_part(variant, '__', 1) as model,  -- noqa: RF04
    split_part(variant, '__', 2) as mode,  -- noqa: RF04
    variant,
    asset,
    generator,
    n_requests,
    n_failed,
    n_truncated,
    n_uncounted,
    attempts,
    prompt_tokens,
    cached_tokens,
    completion_tokens,
    reasoning_tokens,
    n_reasks,
    discarded_tokens,
    mean_queue_ms,
    mean_latency_ms,
    p95_latency_ms,
    queue_seconds,
    seconds,
    cost,
    currency,
    case
        when count(*) over whole = count(cost) over whole and min(currency) over whole = max(currency) over whole
            then sum(cost) over whole
    end as total_cost
from summed
window whole as (partition by dataset, variant)
order by dataset, variant, asset, generator
