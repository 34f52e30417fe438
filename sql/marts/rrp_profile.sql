-- Reach-Redundancy Profile of every cell, by judge: where the reasoning first reaches the gold answer (arrival), how
-- much of it is redundant, and how well the two are regulated; means over questions of the scored traces.
-- The length-aware columns (_la) measure sentences against S_b, the mean trace length of the base variant of the same
-- model on the same dataset, taken as a constant in their intervals. The _la_tokens columns divide by the base's mean
-- response tokens instead and serve comparison only. A cell that was not judged has its row, with NULLs and n_scored 0.
-- grain: dataset, variant, judge
-- inputs: cell_metrics, rrp_scores, variants, settings
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
    from rrp_scores
),

-- The length of a trace does not depend on who judges it.
trace as (
    select
        dataset,
        variant,
        question_id,
        rollout_id,
        max(total_sentences) as sentences
    from rrp_scores
    group by dataset, variant, question_id, rollout_id
),

question_length as (
    select
        dataset,
        variant,
        question_id,
        avg(sentences) as sentences
    from trace
    group by dataset, variant, question_id
),

cell_length as (
    select
        dataset,
        variant,
        avg(sentences) as sentences
    from question_length
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
        base_cell.mean_tokens as base_tokens
    from judging
    inner join variants on judging.variant = variants.variant
    left join cell_length as own
        on judging.dataset = own.dataset and judging.variant = own.variant
    left join cell_length as base
        on judging.dataset = base.dataset and variants.base_variant = base.variant
    left join cell_metrics as base_cell
        on judging.dataset = base_cell.dataset and variants.base_variant = base_cell.variant
),

scored as (
    select
        rrp_scores.dataset,
        rrp_scores.variant,
        rrp_scores.judge,
        rrp_scores.question_id,
        rrp_scores.status,
        rrp_scores.arrival,
        rrp_scores.redundant_fraction,
        rrp_scores.regulation,
        rrp_scores.confidence,
        (rrp_scores.first_correct < 0)::double as never_reached,
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
),

question as (
    select
        dataset,
        variant,
        judge,
        question_id,
        avg(arrival) as arrival,
        avg(redundant_fraction) as redundancy,
        avg(regulation) as regulation,
        avg(arrival_la) as arrival_la,
        avg(redundancy_la) as redundancy_la,
        avg(if(
            arrival_la = 1 and redundancy_la = 1, 0,
            2 * (1 - arrival_la) * (1 - redundancy_la) / nullif(2 - arrival_la - redundancy_la, 0)
        )) as regulation_la,
        avg(rho_la_tokens) as rho_la_tokens,
        avg(delta_la_tokens) as delta_la_tokens,
        avg(never_reached) as never_reached,
        avg(confidence) as confidence
    from scored
    where status = 'scored'
    group by dataset, variant, judge, question_id
),

-- Sorted, so that the lists come to the function together and are resampled in one go.
listed as (
    select
        dataset,
        variant,
        judge,
        avg(arrival) as arrival,
        avg(redundancy) as redundancy,
        avg(regulation) as regulation,
        avg(arrival_la) as arrival_la,
        avg(redundancy_la) as redundancy_la,
        avg(regulation_la) as regulation_la,
        avg(rho_la_tokens) as rho_la_tokens,
        avg(delta_la_tokens) as delta_la_tokens,
        avg(never_reached) as never_reached_rate,
        avg(confidence) as confidence,
        list(arrival order by question_id) as arrival_list,
        list(redundancy order by question_id) as redundancy_list,
        list(regulation order by question_id) as regulation_list,
        list(arrival_la order by question_id) as arrival_la_list,
        list(redundancy_la order by question_id) as redundancy_la_list,
        list(regulation_la order by question_id) as regulation_la_list,
        list(never_reached order by question_id) as never_reached_rate_list
    from question
    group by dataset, variant, judge
    order by dataset, variant, judge
),

estimated as (
    select  -- noqa: ST06
        dataset,
        variant,
        judge,
        arrival,
        bootstrap_mean(arrival_list) as arrival_ci,
        redundancy,
        bootstrap_mean(redundancy_list) as redundancy_ci,
        regulation,
        bootstrap_mean(regulation_list) as regulation_ci,
        arrival_la,
        bootstrap_mean(arrival_la_list) as arrival_la_ci,
        redundancy_la,
        bootstrap_mean(redundancy_la_list) as redundancy_la_ci,
        regulation_la,
        bootstrap_mean(regulation_la_list) as regulation_la_ci,
        rho_la_tokens,
        delta_la_tokens,
        never_reached_rate,
        bootstrap_mean(never_reached_rate_list) as never_reached_rate_ci,
        confidence
    from listed
),

counted as (
    select
        dataset,
        variant,
        judge,
        count(*) filter (where status = 'scored') as n_scored,
        count(*) filter (where status = 'unparseable') as n_unparseable,
        count(*) filter (where status = 'failed') as n_failed
    from rrp_scores
    group by dataset, variant, judge
)

select  -- noqa: ST06
    anchored.dataset,
    anchored.model,
    anchored.mode,
    anchored.variant,
    anchored.judge,
    estimated.arrival,
    estimated.arrival_ci.lo as arrival_lo,
    estimated.arrival_ci.hi as arrival_hi,
    estimated.redundancy,
    estimated.redundancy_ci.lo as redundancy_lo,
    estimated.redundancy_ci.hi as redundancy_hi,
    estimated.regulation,
    estimated.regulation_ci.lo as regulation_lo,
    estimated.regulation_ci.hi as regulation_hi,
    estimated.arrival_la,
    estimated.arrival_la_ci.lo as arrival_la_lo,
    estimated.arrival_la_ci.hi as arrival_la_hi,
    estimated.redundancy_la,
    estimated.redundancy_la_ci.lo as redundancy_la_lo,
    estimated.redundancy_la_ci.hi as redundancy_la_hi,
    estimated.regulation_la,
    estimated.regulation_la_ci.lo as regulation_la_lo,
    estimated.regulation_la_ci.hi as regulation_la_hi,
    estimated.rho_la_tokens,
    estimated.delta_la_tokens,
    estimated.never_reached_rate,
    estimated.never_reached_rate_ci.lo as never_reached_rate_lo,
    estimated.never_reached_rate_ci.hi as never_reached_rate_hi,
    anchored.sentences as mean_sentences,
    anchored.base_sentences as base_mean_sentences,
    estimated.confidence,
    coalesce(counted.n_scored, 0) as n_scored,
    coalesce(counted.n_unparseable, 0) as n_unparseable,
    coalesce(counted.n_failed, 0) as n_failed
from anchored
left join estimated
    on
        anchored.dataset = estimated.dataset
        and anchored.variant = estimated.variant
        and anchored.judge = estimated.judge
left join counted
    on
        anchored.dataset = counted.dataset
        and anchored.variant = counted.variant
        and anchored.judge = counted.judge
order by anchored.dataset, anchored.variant, anchored.judge
