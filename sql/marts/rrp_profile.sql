-- Reach-Redundancy Profile of every cell, by judge: where the reasoning first reaches the gold answer (arrival), how
-- much of it is redundant, and how well the two are regulated; means over questions of the scored traces.
-- The length-aware columns (_la) measure sentences against S_b, the mean trace length of the base variant of the same
-- model on the same dataset, taken as a constant in their intervals. The _la_tokens columns divide by the base's mean
-- response tokens instead and serve comparison only. A cell that was not judged has its row, with NULLs and n_scored 0.
-- grain: dataset, variant, judge
-- inputs: cell_metrics, cell_estimates, rrp_scores, validation_questions, variants, settings
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column judge: model that judged
-- estimate arrival: mean share of the trace until the answer is derived; 1 where it never is
-- estimate redundancy: mean share of redundant sentences
-- estimate regulation: mean harmonic mean of 1 - arrival and 1 - redundancy
-- estimate arrival_la: length-aware arrival, sentences until the answer / S_b, at most 1
-- estimate redundancy_la: length-aware redundancy, redundant sentences / S_b, at most 1
-- estimate regulation_la: mean harmonic mean of the two length-aware factors
-- column rho_la_tokens: as arrival_la, over the base's mean response tokens
-- column delta_la_tokens: as redundancy_la, over the base's mean response tokens
-- estimate never_reached_rate: share of traces that never derive the gold answer
-- column mean_sentences: mean sentences of a trace
-- column base_mean_sentences: S_b, those of the base variant
-- column confidence: mean confidence of the judge
-- column n_scored: traces with a profile
-- column n_unparseable: replies that did not parse
-- column n_failed: judge requests that failed
with
judging as (
    select
        cell_metrics.dataset,
        cell_metrics.variant,
        settings.primary_judge as judge
    from cell_metrics
    cross join settings
    union
    select
        dataset,
        variant,
        judge
    from cell_estimates
    where source = 'rrp_scores' and judge != ''
),

cell_length as (
    select
        dataset,
        variant,
        any_value(estimate) filter (where measure = 'sentences') as sentences,
        any_value(estimate) filter (where measure = 'mean_tokens') as tokens
    from cell_estimates
    where measure in ('sentences', 'mean_tokens') and tier = 'all'
    group by dataset, variant
),

anchored as (
    select
        judging.dataset,
        judging.variant,
        judging.judge,
        variants.model,
        variants.mode,
        own.sentences,
        base.sentences as base_sentences,
        base.tokens as base_tokens
    from judging
    inner join variants on judging.variant = variants.variant
    left join cell_length as own
        on judging.dataset = own.dataset and judging.variant = own.variant
    left join cell_length as base
        on judging.dataset = base.dataset and variants.base_variant = base.variant
),

asked as (
    select
        dataset,
        question_id,
        row_number() over (partition by dataset order by question_id) as place
    from validation_questions
),

-- Against S_b, and against T_b; nothing to divide by gives NULL.
scored as (
    select
        rrp_scores.dataset,
        rrp_scores.variant,
        rrp_scores.judge,
        rrp_scores.question_id,
        case
            when anchored.base_sentences > 0
                then if(rrp_scores.first_correct < 0, 1, least(1, rrp_scores.first_correct / anchored.base_sentences))
        end as arrival_la,
        case
            when anchored.base_sentences > 0
                then least(1, rrp_scores.redundant_sentences / anchored.base_sentences)
        end as redundancy_la,
        case
            when anchored.base_tokens > 0
                then if(rrp_scores.first_correct < 0, 1, least(1, rrp_scores.first_correct / anchored.base_tokens))
        end as rho_la_tokens,
        case
            when anchored.base_tokens > 0
                then least(1, rrp_scores.redundant_sentences / anchored.base_tokens)
        end as delta_la_tokens
    from rrp_scores
    inner join anchored
        on
            rrp_scores.dataset = anchored.dataset
            and rrp_scores.variant = anchored.variant
            and rrp_scores.judge = anchored.judge
    where rrp_scores.status = 'scored'
),

question as (
    select
        dataset,
        variant,
        judge,
        question_id,
        avg(arrival_la) as arrival_la,
        avg(redundancy_la) as redundancy_la,
        avg(if(
            arrival_la = 1 and redundancy_la = 1, 0,
            2 * (1 - arrival_la) * (1 - redundancy_la) / nullif(2 - arrival_la - redundancy_la, 0)
        )) as regulation_la,
        avg(rho_la_tokens) as rho_la_tokens,
        avg(delta_la_tokens) as delta_la_tokens
    from scored
    group by dataset, variant, judge, question_id
),

-- All lists of a dataset are as long as it has questions, so that they share their resamples.
listed as (
    select
        anchored.dataset,
        anchored.variant,
        anchored.judge,
        avg(question.rho_la_tokens) as rho_la_tokens,
        avg(question.delta_la_tokens) as delta_la_tokens,
        list(
            row(question.arrival_la, question.redundancy_la, question.regulation_la) order by asked.place
        ) as profiles
    from anchored
    inner join asked on anchored.dataset = asked.dataset
    left join question
        on
            asked.question_id = question.question_id
            and anchored.dataset = question.dataset
            and anchored.variant = question.variant
            and anchored.judge = question.judge
    group by anchored.dataset, anchored.variant, anchored.judge
),

-- Sorted, so that all lists come to the function together and are resampled in one go.
measured as (
    select
        dataset,
        variant,
        judge,
        unnest(['arrival', 'redundancy', 'regulation']) as measure,
        unnest([
            list_transform(profiles, lambda profile: profile[1]),
            list_transform(profiles, lambda profile: profile[2]),
            list_transform(profiles, lambda profile: profile[3])
        ]) as scores
    from listed
    order by dataset, variant, judge, measure
),

estimated as (
    select
        dataset,
        variant,
        judge,
        measure,
        bootstrap_mean(scores) as figures
    from measured
),

length_aware as (
    select
        listed.dataset,
        listed.variant,
        listed.judge,
        listed.rho_la_tokens,
        listed.delta_la_tokens,
        any_value(estimated.figures) filter (where estimated.measure = 'arrival') as arrival,
        any_value(estimated.figures) filter (where estimated.measure = 'redundancy') as redundancy,
        any_value(estimated.figures) filter (where estimated.measure = 'regulation') as regulation
    from listed
    inner join estimated
        on
            listed.dataset = estimated.dataset
            and listed.variant = estimated.variant
            and listed.judge = estimated.judge
    group by all
),

estimates as (
    select
        dataset,
        variant,
        judge,
        map(
            list(measure), list(struct_pack(estimate := estimate, lo := estimate_lo, hi := estimate_hi))
        ) as of_measure,
        any_value(n_scored) as n_scored,
        any_value(n_unparseable) as n_unparseable,
        any_value(n_failed) as n_failed
    from cell_estimates
    where source = 'rrp_scores' and judge != '' and tier = 'all'
    group by dataset, variant, judge
)

select  -- noqa: ST06
    anchored.dataset,
    anchored.model,
    anchored.mode,
    anchored.variant,
    anchored.judge,
    estimates.of_measure['arrival'].estimate as arrival,
    estimates.of_measure['arrival'].lo as arrival_lo,
    estimates.of_measure['arrival'].hi as arrival_hi,
    estimates.of_measure['redundancy'].estimate as redundancy,
    estimates.of_measure['redundancy'].lo as redundancy_lo,
    estimates.of_measure['redundancy'].hi as redundancy_hi,
    estimates.of_measure['regulation'].estimate as regulation,
    estimates.of_measure['regulation'].lo as regulation_lo,
    estimates.of_measure['regulation'].hi as regulation_hi,
    length_aware.arrival.estimate as arrival_la,
    length_aware.arrival.lo as arrival_la_lo,
    length_aware.arrival.hi as arrival_la_hi,
    length_aware.redundancy.estimate as redundancy_la,
    length_aware.redundancy.lo as redundancy_la_lo,
    length_aware.redundancy.hi as redundancy_la_hi,
    length_aware.regulation.estimate as regulation_la,
    length_aware.regulation.lo as regulation_la_lo,
    length_aware.regulation.hi as regulation_la_hi,
    length_aware.rho_la_tokens,
    length_aware.delta_la_tokens,
    estimates.of_measure['never_reached_rate'].estimate as never_reached_rate,
    estimates.of_measure['never_reached_rate'].lo as never_reached_rate_lo,
    estimates.of_measure['never_reached_rate'].hi as never_reached_rate_hi,
    anchored.sentences as mean_sentences,
    anchored.base_sentences as base_mean_sentences,
    estimates.of_measure['rrp_confidence'].estimate as confidence,
    coalesce(estimates.n_scored, 0) as n_scored,
    coalesce(estimates.n_unparseable, 0) as n_unparseable,
    coalesce(estimates.n_failed, 0) as n_failed
from anchored
left join estimates
    on
        anchored.dataset = estimates.dataset
        and anchored.variant = estimates.variant
        and anchored.judge = estimates.judge
left join length_aware
    on
        anchored.dataset = length_aware.dataset
        and anchored.variant = length_aware.variant
        and anchored.judge = length_aware.judge
order by anchored.dataset, anchored.variant, anchored.judge
