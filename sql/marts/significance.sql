-- Is a variant different from the base variant of the same model on the same dataset? One row per cell and metric.
-- Differences are variant - base, over the questions that both have a value for (a question's value is the mean over
-- its rollouts), with the 95 % interval of the paired bootstrap. McNemar's test is for the two rates: a question counts
-- as right where more than half of its rollouts are. Judged metrics are those of the primary judge. aes and mqi are
-- differences of the cells' own figures (the base's AES is 0), each mean over the questions that have its value, in the
-- same resamples. A cell without pairs has its row, with NULLs and the reason.
-- grain: dataset, variant, metric
-- inputs: cell_metrics, cell_estimates, variants, settings
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column base_variant: the variant that it is compared with
-- column metric: exact_match, judge_accuracy, mean_tokens, regulation, l_obs, aes or mqi
-- column n_questions: questions that both have a value for
-- estimate difference: variant - base, in the metric's unit
-- column b: questions that the base is right on and the variant is not; NULL where the metric is no rate
-- column c: questions that the variant is right on and the base is not
-- column mcnemar_p: two-sided p-value of McNemar's test; NULL where b + c = 0
-- column reason: why there is no difference
with
own as (
    select
        cell_estimates.dataset,
        cell_estimates.variant,
        cell_estimates.measure,
        cell_estimates.by_question,
        cell_estimates.questions_digest
    from cell_estimates
    cross join settings
    where
        cell_estimates.tier = 'all'
        and cell_estimates.judge in ('', settings.primary_judge)
        and cell_estimates.measure in ('exact_match', 'judge_accuracy', 'mean_tokens', 'regulation', 'l_obs')
),

-- The values of both variants, question by question; lists over other questions cannot be paired.
paired as (
    select
        own.dataset,
        own.variant,
        own.measure,
        own.by_question as scores,
        base.by_question as base_scores,
        case
            when base_cell.variant is null then 'the base variant has no cell on this dataset'
            when base.questions_digest != own.questions_digest then 'the base variant was scored on other questions'
            when own.by_question is null and own.measure = 'mean_tokens' then 'no response tokens are known'
            when own.by_question is null then 'there are no scores'
            when base.by_question is null and own.measure = 'mean_tokens'
                then 'no response tokens of the base variant are known'
            when base.by_question is null then 'there are no scores of the base variant'
        end as reason
    from own
    inner join variants on own.variant = variants.variant and variants.variant != variants.base_variant
    left join cell_metrics as base_cell
        on own.dataset = base_cell.dataset and variants.base_variant = base_cell.variant
    left join own as base
        on
            own.dataset = base.dataset
            and variants.base_variant = base.variant
            and own.measure = base.measure
),

single as (
    select
        *,
        if(reason is null, bootstrap_difference(scores, base_scores), null) as figures,
        case
            when measure in ('exact_match', 'judge_accuracy') and reason is null then list_zip(scores, base_scores)
        end as rates
    from (
        select *
        from paired
        order by dataset, variant
    ) as sorted
),

tokens as (
    select *
    from paired
    where measure = 'mean_tokens'
),

-- The metrics that are made of two.
composite as (
    select
        paired.dataset,
        paired.variant,
        'aes' as metric,
        coalesce(paired.reason, tokens.reason) as reason,
        if(
            coalesce(paired.reason, tokens.reason) is null,
            bootstrap_aes(
                paired.scores,
                tokens.scores,
                paired.base_scores,
                tokens.base_scores,
                settings.alpha::double,
                settings.beta::double,
                settings.gamma::double
            ),
            null
        ) as figures
    from paired
    inner join tokens on paired.dataset = tokens.dataset and paired.variant = tokens.variant
    cross join settings
    where paired.measure = 'exact_match'
    union all
    select
        paired.dataset,
        paired.variant,
        'mqi' as metric,
        coalesce(paired.reason, tokens.reason) as reason,
        if(
            coalesce(paired.reason, tokens.reason) is null,
            bootstrap_mqi_gain(paired.scores, tokens.scores, paired.base_scores, tokens.base_scores),
            null
        ) as figures
    from paired
    inner join tokens on paired.dataset = tokens.dataset and paired.variant = tokens.variant
    where paired.measure = 'l_obs'
),

tested as (
    select
        dataset,
        variant,
        measure as metric,
        reason,
        figures,
        if(figures is null, null, len(list_filter(rates, lambda pair: pair[1] <= 0.5 and pair[2] > 0.5))) as b,
        if(figures is null, null, len(list_filter(rates, lambda pair: pair[1] > 0.5 and pair[2] <= 0.5))) as c
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
    coalesce(tested.figures.n, 0) as n_questions,
    tested.figures.estimate as difference,
    tested.figures.lo as difference_lo,
    tested.figures.hi as difference_hi,
    tested.b,
    tested.c,
    mcnemar_p(tested.b, tested.c) as mcnemar_p,
    case
        when tested.metric is null then 'there are no scores'
        when tested.reason is not null then tested.reason
        when tested.figures is null then 'no question has a value of both'
        when tested.figures.estimate is null then 'it is not defined for these values of the base variant'
    end as reason
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
