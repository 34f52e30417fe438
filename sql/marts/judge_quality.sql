-- How far the judges can be trusted, by cell, score and judge: replies that do not parse, agreement with the primary
-- judge where both scored a rollout, and agreement of verdicts with exact match.
-- Labels that are compared: the verdict letter, the answer hit, the answer paragraph (rrp_scores) and the observed
-- level (mqi_scores). A score that the primary judge has not given has its row, with NULLs and n_replies 0.
-- grain: dataset, variant, score, judge
-- inputs: cell_metrics, answer_scores, judge_verdicts, answer_hits, rrp_scores, mqi_scores, variants, settings
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column score: table of the judged score
-- column judge: model that judged
-- column n_replies: replies that came back
-- column n_scored: replies with a score
-- column n_unparseable: replies that did not parse
-- column n_failed: judge requests that failed
-- estimate parse_failure_rate: share of the replies that did not parse, mean over questions
-- column compared_with: the primary judge, where this is another one
-- column n_both: rollouts that both judges scored
-- estimate agreement: share of those with the same label, mean over questions
-- column kappa: Cohen's kappa of the two judges; NULL where both gave one and the same label throughout
-- column n_em: verdicts that stand beside an exact match (judge_verdicts only)
-- estimate em_agreement: share of those where judge_correct = exact_match, mean over questions
-- column em_kappa: Cohen's kappa of judge_correct and exact_match
with
labelled as (
    select
        'judge_verdicts' as score,
        dataset,
        variant,
        question_id,
        rollout_id,
        judge,
        status,
        verdict as rating,
        judge_correct
    from judge_verdicts
    union all
    select
        'answer_hits' as score,
        dataset,
        variant,
        question_id,
        rollout_id,
        judge,
        status,
        answer_hit::varchar as rating,
        null as judge_correct
    from answer_hits
    union all
    select
        'rrp_scores' as score,
        dataset,
        variant,
        question_id,
        rollout_id,
        judge,
        status,
        answer_paragraph::varchar as rating,
        null as judge_correct
    from rrp_scores
    union all
    select
        'mqi_scores' as score,
        dataset,
        variant,
        question_id,
        rollout_id,
        judge,
        status,
        l_obs::varchar as rating,
        null as judge_correct
    from mqi_scores
),

judging as (
    select
        cell_metrics.dataset,
        cell_metrics.variant,
        scores.score,
        settings.primary_judge as judge
    from cell_metrics
    cross join settings
    cross join (values ('judge_verdicts'), ('answer_hits'), ('rrp_scores'), ('mqi_scores')) as scores (score)
    union
    select
        dataset,
        variant,
        score,
        judge
    from labelled
),

compared as (
    select
        labelled.*,
        case
            when labelled.status = 'scored' and labelled.judge != settings.primary_judge then reference.rating
        end as reference_rating,
        case
            when labelled.status = 'scored' and not answer_scores.failed then answer_scores.exact_match
        end as exact_match
    from labelled
    cross join settings
    left join labelled as reference
        on
            labelled.score = reference.score
            and labelled.dataset = reference.dataset
            and labelled.variant = reference.variant
            and labelled.question_id = reference.question_id
            and labelled.rollout_id = reference.rollout_id
            and settings.primary_judge = reference.judge
            and reference.status = 'scored'
    left join answer_scores
        on
            labelled.dataset = answer_scores.dataset
            and labelled.variant = answer_scores.variant
            and labelled.question_id = answer_scores.question_id
            and labelled.rollout_id = answer_scores.rollout_id
            and labelled.judge_correct is not null
),

question as (
    select
        dataset,
        variant,
        score,
        judge,
        question_id,
        avg((status = 'unparseable')::double) filter (where status != 'failed') as unparseable,
        avg((rating = reference_rating)::double) as agrees,
        avg((judge_correct = exact_match)::double) as agrees_with_em
    from compared
    group by dataset, variant, score, judge, question_id
),

-- Sorted, so that the lists come to the function together and are resampled in one go.
listed as (
    select
        dataset,
        variant,
        score,
        judge,
        avg(unparseable) as parse_failure_rate,
        avg(agrees) as agreement,
        avg(agrees_with_em) as em_agreement,
        list(unparseable order by question_id) as parse_failure_rate_list,
        list(agrees order by question_id) as agreement_list,
        list(agrees_with_em order by question_id) as em_agreement_list
    from question
    group by dataset, variant, score, judge
    order by dataset, variant, score, judge
),

estimated as (
    select  -- noqa: ST06
        dataset,
        variant,
        score,
        judge,
        parse_failure_rate,
        bootstrap_mean(parse_failure_rate_list) as parse_failure_rate_ci,
        agreement,
        bootstrap_mean(agreement_list) as agreement_ci,
        em_agreement,
        bootstrap_mean(em_agreement_list) as em_agreement_ci
    from listed
),

counted as (
    select
        dataset,
        variant,
        score,
        judge,
        count(*) filter (where status != 'failed') as n_replies,
        count(*) filter (where status = 'scored') as n_scored,
        count(*) filter (where status = 'unparseable') as n_unparseable,
        count(*) filter (where status = 'failed') as n_failed,
        count(reference_rating) as n_both,
        count(exact_match) as n_em,
        cohen_kappa(
            list(rating) filter (where reference_rating is not null),
            list(reference_rating) filter (where reference_rating is not null)
        ) as kappa,
        cohen_kappa(
            list(judge_correct::varchar) filter (where exact_match is not null),
            list(exact_match::varchar) filter (where exact_match is not null)
        ) as em_kappa
    from compared
    group by dataset, variant, score, judge
)

select  -- noqa: ST06
    judging.dataset,
    variants.model,
    variants.mode,
    judging.variant,
    judging.score,
    judging.judge,
    coalesce(counted.n_replies, 0) as n_replies,
    coalesce(counted.n_scored, 0) as n_scored,
    coalesce(counted.n_unparseable, 0) as n_unparseable,
    coalesce(counted.n_failed, 0) as n_failed,
    estimated.parse_failure_rate,
    estimated.parse_failure_rate_ci.lo as parse_failure_rate_lo,
    estimated.parse_failure_rate_ci.hi as parse_failure_rate_hi,
    nullif(settings.primary_judge, judging.judge) as compared_with,
    coalesce(counted.n_both, 0) as n_both,
    estimated.agreement,
    estimated.agreement_ci.lo as agreement_lo,
    estimated.agreement_ci.hi as agreement_hi,
    counted.kappa,
    coalesce(counted.n_em, 0) as n_em,
    estimated.em_agreement,
    estimated.em_agreement_ci.lo as em_agreement_lo,
    estimated.em_agreement_ci.hi as em_agreement_hi,
    counted.em_kappa
from judging
inner join variants on judging.variant = variants.variant
cross join settings
left join estimated
    on
        judging.dataset = estimated.dataset
        and judging.variant = estimated.variant
        and judging.score = estimated.score
        and judging.judge = estimated.judge
left join counted
    on
        judging.dataset = counted.dataset
        and judging.variant = counted.variant
        and judging.score = counted.score
        and judging.judge = counted.judge
order by judging.dataset, judging.variant, judging.score, judging.judge
