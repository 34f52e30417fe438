-- How far the judges of a cell can be trusted, by score and judge: replies that do not parse; agreement with the
-- primary judge where both scored a rollout; agreement of verdicts with exact match; agreement of a judge with itself,
-- asked again, and about the same trace with its paragraphs numbered otherwise.
-- Traces without a paragraph, whose profile follows from its definition, were asked of nobody and are left out.
-- Labels that are compared: the verdict letter, the answer hit, the answer paragraph (rrp_scores) and the observed
-- level (mqi_scores). A score that the primary judge has not given has its row, with NULLs and n_replies 0.
-- grain: dataset, variant, score, judge
-- inputs: answer_scores, judge_verdicts, answer_hits, rrp_scores, mqi_scores, judge_retests, settings
-- column dataset: dataset of the cell
-- column variant: model__mode
-- column score: table of the judged score
-- column judge: model that judged
-- column n_replies: replies that came back
-- column n_scored: replies with a score
-- column n_unparseable: replies that did not parse, however often they were asked for
-- column n_failed: judge requests that failed
-- column n_reasks: replies that did not parse and were asked for once more
-- estimate parse_failure_rate: share of the replies that did not parse, mean over questions
-- column compared_with: the primary judge, where this is another one
-- column n_both: rollouts that both judges scored
-- estimate agreement: share of those with the same label, mean over questions
-- estimate kappa: Cohen's kappa of the two judges; NULL where both gave one and the same label throughout
-- estimate alpha: Krippendorff's alpha of the two judges, ordinal (mqi_scores only)
-- column n_em: verdicts that stand beside an exact match (judge_verdicts only)
-- estimate em_agreement: share of those where judge_correct = exact_match, mean over questions
-- estimate em_kappa: Cohen's kappa of judge_correct and exact_match
-- column n_retests: scored rollouts whose second reply to the same question parsed, too
-- estimate retest_agreement: share of those with the same label both times, mean over questions
-- estimate retest_kappa: Cohen's kappa of the two labels
-- estimate retest_alpha: Krippendorff's alpha of the two levels, ordinal (mqi_scores only)
-- column n_renumbered: profiles that stand beside one of the re-numbered trace (rrp_scores only)
-- estimate renumbered_agreement: share of those with the same answer paragraph, mean over questions
-- estimate renumbered_shift: mean distance of the two regulations
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
        attempts,
        reasks,
        verdict as rating,
        judge_correct,
        null as regulation
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
        attempts,
        reasks,
        case answer_hit when 1 then 'YES' when 0 then 'NO' end as rating,
        null as judge_correct,
        null as regulation
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
        attempts,
        reasks,
        answer_paragraph::varchar as rating,
        null as judge_correct,
        regulation
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
        attempts,
        reasks,
        l_obs::varchar as rating,
        null as judge_correct,
        null as regulation
    from mqi_scores
),

asked as (
    select *
    from labelled
    where attempts > 0 or status = 'failed'
),

cell as (
    select distinct
        dataset,
        variant
    from answer_scores
),

judging as (
    select
        cell.dataset,
        cell.variant,
        scores.score,
        settings.primary_judge as judge
    from cell
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

-- Beside each label, what it is compared with; what has no score has no label.
compared as (
    select  -- noqa: ST06
        labelled.*,
        case when labelled.judge != settings.primary_judge then reference.rating end as reference_rating,
        case
            when labelled.judge_correct is not null and not answer_scores.failed then answer_scores.exact_match
        end as exact_match,
        retested.label as retest_rating,
        renumbered.label as renumbered_rating,
        abs(renumbered.regulation - labelled.regulation) as renumbered_shift
    from asked as labelled
    cross join settings
    left join asked as reference
        on
            labelled.score = reference.score
            and labelled.dataset = reference.dataset
            and labelled.variant = reference.variant
            and labelled.question_id = reference.question_id
            and labelled.rollout_id = reference.rollout_id
            and settings.primary_judge = reference.judge
    left join answer_scores
        on
            labelled.dataset = answer_scores.dataset
            and labelled.variant = answer_scores.variant
            and labelled.question_id = answer_scores.question_id
            and labelled.rollout_id = answer_scores.rollout_id
    left join judge_retests as retested
        on
            labelled.score = retested.score
            and labelled.dataset = retested.dataset
            and labelled.variant = retested.variant
            and labelled.question_id = retested.question_id
            and labelled.rollout_id = retested.rollout_id
            and labelled.judge = retested.judge
            and retested.kind = 'retest'
    left join judge_retests as renumbered
        on
            labelled.score = renumbered.score
            and labelled.dataset = renumbered.dataset
            and labelled.variant = renumbered.variant
            and labelled.question_id = renumbered.question_id
            and labelled.rollout_id = renumbered.rollout_id
            and labelled.judge = renumbered.judge
            and renumbered.kind = 'renumbered'
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
        avg((judge_correct = exact_match)::double) as agrees_with_em,
        avg((rating = retest_rating)::double) as agrees_again,
        avg((rating = renumbered_rating)::double) as agrees_renumbered,
        avg(renumbered_shift) as shift
    from compared
    group by dataset, variant, score, judge, question_id
),

share as (
    select
        dataset,
        variant,
        score,
        judge,
        question_id,
        unnest([
            'parse_failure_rate',
            'agreement',
            'em_agreement',
            'retest_agreement',
            'renumbered_agreement',
            'renumbered_shift'
        ]) as figure,
        unnest([unparseable, agrees, agrees_with_em, agrees_again, agrees_renumbered, shift]) as measured
    from question
),

-- Sorted, here and below, so that all lists come to the function together and are resampled in one go.
listed as (
    select
        dataset,
        variant,
        score,
        judge,
        figure,
        list(measured order by question_id) as per_question
    from share
    group by dataset, variant, score, judge, figure
    order by dataset, variant, score, judge, figure
),

-- Coefficients are of pairs of ratings. A rating without its pair stands for its question alone.
pair as (
    select
        dataset,
        variant,
        score,
        judge,
        question_id,
        rollout_id,
        unnest(['kappa', 'em_kappa', 'retest_kappa']) as figure,
        unnest([rating, (judge_correct > 0.5)::varchar, rating]) as own,
        unnest([reference_rating, (exact_match > 0.5)::varchar, retest_rating]) as given
    from compared
),

rated as (
    select
        dataset,
        variant,
        score,
        judge,
        figure,
        list(question_id order by question_id, rollout_id) as questions,
        list(own order by question_id, rollout_id) as owns,
        list(given order by question_id, rollout_id) as answers
    from pair
    group by dataset, variant, score, judge, figure
    order by dataset, variant, score, judge, figure
),

estimated as (
    select
        dataset,
        variant,
        score,
        judge,
        figure,
        bootstrap_mean(per_question) as estimate
    from listed
    union all
    select
        dataset,
        variant,
        score,
        judge,
        figure,
        bootstrap_kappa(questions, owns, answers) as estimate
    from rated
    union all
    select
        dataset,
        variant,
        score,
        judge,
        replace(figure, 'kappa', 'alpha') as figure,
        bootstrap_alpha(questions, owns, answers) as estimate
    from rated
    where score = 'mqi_scores' and figure != 'em_kappa'
),

estimates as (
    select
        dataset,
        variant,
        score,
        judge,
        map(list(figure), list(estimate)) as of_figure
    from estimated
    group by dataset, variant, score, judge
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
        sum(reasks)::bigint as n_reasks,
        count(*) filter (where rating is not null and reference_rating is not null) as n_both,
        count(exact_match) as n_em,
        count(*) filter (where rating is not null and retest_rating is not null) as n_retests,
        count(*) filter (where rating is not null and renumbered_rating is not null) as n_renumbered
    from compared
    group by dataset, variant, score, judge
)

select  -- noqa: ST06
    judging.dataset,
    judging.variant,
    judging.score,
    judging.judge,
    coalesce(counted.n_replies, 0) as n_replies,
    coalesce(counted.n_scored, 0) as n_scored,
    coalesce(counted.n_unparseable, 0) as n_unparseable,
    coalesce(counted.n_failed, 0) as n_failed,
    coalesce(counted.n_reasks, 0) as n_reasks,
    estimates.of_figure['parse_failure_rate'].estimate as parse_failure_rate,
    estimates.of_figure['parse_failure_rate'].lo as parse_failure_rate_lo,
    estimates.of_figure['parse_failure_rate'].hi as parse_failure_rate_hi,
    nullif(settings.primary_judge, judging.judge) as compared_with,
    coalesce(counted.n_both, 0) as n_both,
    estimates.of_figure['agreement'].estimate as agreement,
    estimates.of_figure['agreement'].lo as agreement_lo,
    estimates.of_figure['agreement'].hi as agreement_hi,
    estimates.of_figure['kappa'].estimate as kappa,
    estimates.of_figure['kappa'].lo as kappa_lo,
    estimates.of_figure['kappa'].hi as kappa_hi,
    estimates.of_figure['alpha'].estimate as alpha,
    estimates.of_figure['alpha'].lo as alpha_lo,
    estimates.of_figure['alpha'].hi as alpha_hi,
    coalesce(counted.n_em, 0) as n_em,
    estimates.of_figure['em_agreement'].estimate as em_agreement,
    estimates.of_figure['em_agreement'].lo as em_agreement_lo,
    estimates.of_figure['em_agreement'].hi as em_agreement_hi,
    estimates.of_figure['em_kappa'].estimate as em_kappa,
    estimates.of_figure['em_kappa'].lo as em_kappa_lo,
    estimates.of_figure['em_kappa'].hi as em_kappa_hi,
    coalesce(counted.n_retests, 0) as n_retests,
    estimates.of_figure['retest_agreement'].estimate as retest_agreement,
    estimates.of_figure['retest_agreement'].lo as retest_agreement_lo,
    estimates.of_figure['retest_agreement'].hi as retest_agreement_hi,
    estimates.of_figure['retest_kappa'].estimate as retest_kappa,
    estimates.of_figure['retest_kappa'].lo as retest_kappa_lo,
    estimates.of_figure['retest_kappa'].hi as retest_kappa_hi,
    estimates.of_figure['retest_alpha'].estimate as retest_alpha,
    estimates.of_figure['retest_alpha'].lo as retest_alpha_lo,
    estimates.of_figure['retest_alpha'].hi as retest_alpha_hi,
    coalesce(counted.n_renumbered, 0) as n_renumbered,
    estimates.of_figure['renumbered_agreement'].estimate as renumbered_agreement,
    estimates.of_figure['renumbered_agreement'].lo as renumbered_agreement_lo,
    estimates.of_figure['renumbered_agreement'].hi as renumbered_agreement_hi,
    estimates.of_figure['renumbered_shift'].estimate as renumbered_shift,
    estimates.of_figure['renumbered_shift'].lo as renumbered_shift_lo,
    estimates.of_figure['renumbered_shift'].hi as renumbered_shift_hi
from judging
cross join settings
left join estimates
    on
        judging.dataset = estimates.dataset
        and judging.variant = estimates.variant
        and judging.score = estimates.score
        and judging.judge = estimates.judge
left join counted
    on
        judging.dataset = counted.dataset
        and judging.variant = counted.variant
        and judging.score = counted.score
        and judging.judge = counted.judge
order by judging.dataset, judging.variant, judging.score, judging.judge
