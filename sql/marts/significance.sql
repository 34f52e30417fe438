-- Is a variant different from the base variant of the same model on the same dataset? One row per cell and metric.
-- Differences are variant - base, over the questions that both have a value for (a question's value is the mean over
-- its rollouts), with the 95 % interval of the paired bootstrap. McNemar's test is for the two rates: a question counts
-- as right where more than half of its rollouts are. Judged metrics are those of the primary judge; aes and mqi are
-- differences of the cell's figure (the base's AES is 0). A cell without pairs has its row, with NULLs.
-- grain: dataset, variant, metric
-- inputs: cell_metrics, answer_scores, judge_verdicts, rrp_scores, mqi_scores, variants, settings
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column base_variant: the variant that it is compared with
-- column metric: exact_match, judge_accuracy, mean_tokens, regulation, l_obs, aes or mqi
-- column n_questions: paired questions
-- estimate difference: variant - base, in the metric's unit
-- column b: questions that the base is right on and the variant is not; NULL where the metric is no rate
-- column c: questions that the variant is right on and the base is not
-- column mcnemar_p: two-sided p-value of McNemar's test; NULL where b + c = 0
with
scored as (
    select
        dataset,
        variant,
        question_id,
        unnest(['exact_match', 'mean_tokens']) as metric,
        unnest([exact_match, completion_tokens]) as score
    from answer_scores
    where not failed
    union all
    select
        judge_verdicts.dataset,
        judge_verdicts.variant,
        judge_verdicts.question_id,
        'judge_accuracy' as metric,
        judge_verdicts.judge_correct as score
    from judge_verdicts
    inner join settings on judge_verdicts.judge = settings.primary_judge
    union all
    select
        rrp_scores.dataset,
        rrp_scores.variant,
        rrp_scores.question_id,
        'regulation' as metric,
        rrp_scores.regulation as score
    from rrp_scores
    inner join settings on rrp_scores.judge = settings.primary_judge
    union all
    select
        mqi_scores.dataset,
        mqi_scores.variant,
        mqi_scores.question_id,
        'l_obs' as metric,
        mqi_scores.l_obs as score
    from mqi_scores
    inner join settings on mqi_scores.judge = settings.primary_judge
),

question as (
    select
        dataset,
        variant,
        question_id,
        metric,
        avg(score) as score
    from scored
    where score is not null
    group by dataset, variant, question_id, metric
),

paired as (
    select
        own.dataset,
        own.variant,
        own.question_id,
        own.metric,
        own.score,
        base.score as base_score
    from question as own
    inner join variants on own.variant = variants.variant and variants.variant != variants.base_variant
    inner join question as base
        on
            own.dataset = base.dataset
            and variants.base_variant = base.variant
            and own.question_id = base.question_id
            and own.metric = base.metric
),

-- Sorted, so that the lists come to the function together and are resampled in one go.
single as (
    select
        dataset,
        variant,
        metric,
        count(*) as n_questions,
        avg(score - base_score) as difference,
        list(score - base_score order by question_id) as differences,
        count(*) filter (where base_score > 0.5 and score <= 0.5) as b,
        count(*) filter (where base_score <= 0.5 and score > 0.5) as c
    from paired
    group by dataset, variant, metric
    order by dataset, variant, metric
),

-- One row per question, for the metrics that are made of two.
joint as (
    select
        dataset,
        variant,
        question_id,
        any_value(score) filter (where metric = 'exact_match') as accuracy,
        any_value(base_score) filter (where metric = 'exact_match') as base_accuracy,
        any_value(score) filter (where metric = 'l_obs') as l_obs,
        any_value(base_score) filter (where metric = 'l_obs') as base_l_obs,
        any_value(score) filter (where metric = 'mean_tokens') as tokens,
        any_value(base_score) filter (where metric = 'mean_tokens') as base_tokens
    from paired
    group by dataset, variant, question_id
    having tokens is not null
),

aes_means as (
    select
        dataset,
        variant,
        count(*) as n_questions,
        (avg(base_tokens) - avg(tokens)) / nullif(avg(base_tokens), 0) as delta_tokens,
        (avg(accuracy) - avg(base_accuracy)) / nullif(avg(base_accuracy), 0) as delta_accuracy,
        list(accuracy order by question_id) as accuracies,
        list(tokens order by question_id) as tokens,
        list(base_accuracy order by question_id) as base_accuracies,
        list(base_tokens order by question_id) as base_tokens
    from joint
    where accuracy is not null
    group by dataset, variant
    order by dataset, variant
),

mqi_means as (
    select
        dataset,
        variant,
        count(*) as n_questions,
        avg(l_obs) * avg(base_tokens) / nullif(avg(tokens), 0) - avg(base_l_obs) as difference,
        list(l_obs order by question_id) as levels,
        list(tokens order by question_id) as tokens,
        list(base_l_obs order by question_id) as base_levels,
        list(base_tokens order by question_id) as base_tokens
    from joint
    where l_obs is not null
    group by dataset, variant
    order by dataset, variant
),

composite as (
    select
        aes_means.dataset,
        aes_means.variant,
        'aes' as metric,
        aes_means.n_questions,
        settings.alpha * aes_means.delta_tokens
        + if(aes_means.delta_accuracy >= 0, settings.beta, settings.gamma) * aes_means.delta_accuracy as difference,
        bootstrap_aes(
            aes_means.accuracies,
            aes_means.tokens,
            aes_means.base_accuracies,
            aes_means.base_tokens,
            settings.alpha::double,
            settings.beta::double,
            settings.gamma::double
        ) as ci
    from aes_means
    cross join settings
    union all
    select  -- noqa: ST06
        dataset,
        variant,
        'mqi' as metric,
        n_questions,
        difference,
        bootstrap_mqi_gain(levels, tokens, base_levels, base_tokens) as ci
    from mqi_means
),

tested as (
    select
        dataset,
        variant,
        metric,
        n_questions,
        difference,
        bootstrap_mean(differences) as ci,
        case when metric in ('exact_match', 'judge_accuracy') then b end as b,
        case when metric in ('exact_match', 'judge_accuracy') then c end as c
    from single
    union all by name
    select *
    from composite
)

select  -- noqa: ST06
    cell_metrics.dataset,
    variants.model,
    variants.mode,
    cell_metrics.variant,
    variants.base_variant,
    metrics.metric,
    coalesce(tested.n_questions, 0) as n_questions,
    tested.difference,
    tested.ci.lo as difference_lo,
    tested.ci.hi as difference_hi,
    tested.b,
    tested.c,
    mcnemar_p(tested.b, tested.c) as mcnemar_p
from cell_metrics
inner join variants on cell_metrics.variant = variants.variant and variants.variant != variants.base_variant
cross join (
    values ('exact_match'), ('judge_accuracy'), ('mean_tokens'), ('regulation'), ('l_obs'), ('aes'), ('mqi')
) as metrics (metric)
left join tested
    on
        cell_metrics.dataset = tested.dataset
        and cell_metrics.variant = tested.variant
        and metrics.metric = tested.metric
order by cell_metrics.dataset, cell_metrics.variant, metrics.metric
