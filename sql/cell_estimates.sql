-- Every measure of a cell that is a mean over questions, with its 95 % interval: answers, response tokens, judged
-- scores; for the whole cell and for each difficulty tier. A question's value is the mean over its rollouts, and a
-- cell's figure is the mean over questions. Rollouts whose request failed, and scores that are missing, count in
-- n_failed and n_unparseable and are left out of the rest. The marts are made from these rows.
-- grain: dataset, variant, measure, judge, tier
-- inputs: answer_scores, judge_verdicts, answer_hits, rrp_scores, mqi_scores, validation_questions
-- column dataset: dataset of the cell
-- column variant: model__mode
-- column measure: what is averaged, such as exact_match, avg_4, mean_tokens, arrival, l_obs or phase_3
-- column judge: model that judged; empty for what needs no judge
-- column tier: all, or the questions' difficulty: easy, medium, hard
-- column source: table of the scores
-- column n_questions: questions with a value
-- estimate estimate: mean over those questions, in the measure's unit
-- column n_scored: rollouts that are scored in the table of the source
-- column n_unparseable: replies of the judge that did not parse
-- column n_failed: requests that failed: the rollout's or the judge's
-- column by_question: the value of each validation question in the order of question_id, NULL where it has none; in the
--   rows of tier `all` alone
-- column questions_digest: sha256 of these question_ids, one a line; lists with the same one can be paired
with
-- Every question stands in its own tier and in `all`.
asked as (
    select
        dataset,
        question_id,
        unnest(['all', tier]) as tier,
        row_number() over (partition by dataset order by question_id) as place
    from validation_questions
),

asked_in_all as (
    select
        dataset,
        sha256(string_agg(question_id, chr(10) order by question_id)) as questions_digest
    from validation_questions
    group by dataset
),

response as (
    select
        *,
        row_number() over (partition by dataset, variant, question_id order by rollout_id) as nth,
        count(*) over (partition by dataset, variant, question_id) as n,
        sum(exact_match) over (partition by dataset, variant, question_id) as n_right
    from answer_scores
    where not failed
),

-- Each prediction among the first k responses of the questions that have k.
vote as (
    select
        response.dataset,
        response.variant,
        response.question_id,
        ks.k,
        count(*) as votes,
        min(response.nth) as first_seen,
        min_by(response.exact_match, response.nth) as exact_match,
        sum(response.exact_match) as right_votes,
        any_value(response.n) as n,
        any_value(response.n_right) as n_right
    from response
    inner join (values (1), (2), (4), (8), (16), (32), (64)) as ks (k)
        on response.n >= ks.k and response.nth <= ks.k
    group by response.dataset, response.variant, response.question_id, ks.k, response.normalized_prediction
),

repeated as (
    select
        dataset,
        variant,
        question_id,
        k,
        sum(right_votes) / k as avg_at_k,
        max_by(exact_match, row(votes, -first_seen)) as maj_at_k,
        1 - list_product(list_transform(
            range(k), lambda i: greatest(any_value(n) - any_value(n_right) - i, 0) / (any_value(n) - i)
        )) as pass_at_k
    from vote
    group by dataset, variant, question_id, k
),

-- The length of a trace does not depend on who judges it.
trace as (
    select
        dataset,
        variant,
        question_id,
        rollout_id,
        max(total_sentences) as sentences,
        if(bool_or(status = 'unparseable'), 'unparseable', 'failed') as otherwise
    from rrp_scores
    group by dataset, variant, question_id, rollout_id
),

observed as (
    select
        mqi_scores.*,
        mqi_scores.l_obs / nullif(answer_scores.completion_tokens, 0) as l_obs_per_token
    from mqi_scores
    left join answer_scores
        on
            mqi_scores.dataset = answer_scores.dataset
            and mqi_scores.variant = answer_scores.variant
            and mqi_scores.question_id = answer_scores.question_id
            and mqi_scores.rollout_id = answer_scores.rollout_id
    where mqi_scores.status = 'scored'
),

-- Everything that is averaged, one row per measure and rollout (or question, where it is one number per question).
measured as (
    select
        dataset,
        variant,
        question_id,
        '' as judge,
        'answer_scores' as source,  -- noqa: RF04
        unnest(
            ['exact_match', 'substring_match', 'f1', 'f1_plain', 'mean_tokens', 'degenerate_rate']
        ) as measure,
        unnest(
            [exact_match, substring_match, f1, f1_plain, completion_tokens, degenerate::double]
        ) as score
    from response
    union all
    select
        dataset,
        variant,
        question_id,
        '' as judge,
        'answer_scores' as source,  -- noqa: RF04
        unnest(['avg_' || k, 'maj_' || k, 'pass_' || k]) as measure,
        unnest([avg_at_k, maj_at_k, pass_at_k]) as score
    from repeated
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'judge_verdicts' as source,  -- noqa: RF04
        'judge_accuracy' as measure,
        judge_correct as score
    from judge_verdicts
    where status = 'scored'
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'answer_hits' as source,  -- noqa: RF04
        'answer_hit_rate' as measure,
        answer_hit as score
    from answer_hits
    where status = 'scored'
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'rrp_scores' as source,  -- noqa: RF04
        unnest(['arrival', 'redundancy', 'regulation', 'never_reached_rate', 'rrp_confidence']) as measure,
        unnest([arrival, redundant_fraction, regulation, (first_correct < 0)::double, confidence]) as score
    from rrp_scores
    where status = 'scored'
    union all
    select
        dataset,
        variant,
        question_id,
        '' as judge,
        'rrp_scores' as source,  -- noqa: RF04
        'sentences' as measure,
        sentences::double as score
    from trace
    where sentences is not null
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'mqi_scores' as source,  -- noqa: RF04
        unnest(
            ['l_obs', 'l_obs_per_token', 'phase_1', 'phase_2', 'phase_3', 'phase_4', 'phase_5', 'mqi_confidence']
        ) as measure,
        unnest([
            l_obs::double,
            l_obs_per_token,
            list_contains(phases, 1)::double,
            list_contains(phases, 2)::double,
            list_contains(phases, 3)::double,
            list_contains(phases, 4)::double,
            list_contains(phases, 5)::double,
            confidence
        ]) as score
    from observed
),

question as (
    select
        dataset,
        variant,
        judge,
        source,
        measure,
        question_id,
        avg(score) as score
    from measured
    where score is not null
    group by dataset, variant, judge, source, measure, question_id
),

series as (
    select distinct
        dataset,
        variant,
        judge,
        source,
        measure
    from question
),

-- All lists of a tier are as long as it has questions, so that they share their resamples.
listed as (
    select
        series.dataset,
        series.variant,
        series.judge,
        series.source,
        series.measure,
        asked.tier,
        list(question.score order by asked.place) as scores
    from series
    inner join asked on series.dataset = asked.dataset
    left join question
        on
            asked.question_id = question.question_id
            and series.dataset = question.dataset
            and series.variant = question.variant
            and series.judge = question.judge
            and series.measure = question.measure
    group by series.dataset, series.variant, series.judge, series.source, series.measure, asked.tier
),

-- A mean, or a ratio of two where there is something to divide by.
divided as (
    select
        listed.*,
        null as divisors
    from listed
    union all
    select
        levels.dataset,
        levels.variant,
        levels.judge,
        levels.source,
        'l_obs_per_mean_token' as measure,
        levels.tier,
        levels.scores,
        tokens.scores as divisors
    from listed as levels
    inner join listed as tokens
        on
            levels.dataset = tokens.dataset
            and levels.variant = tokens.variant
            and levels.tier = tokens.tier
            and tokens.measure = 'mean_tokens'
    where levels.measure = 'l_obs'
),

-- Sorted, so that all lists come to the function together and are resampled in one go.
estimated as (
    select
        *,
        bootstrap_ratio(scores, divisors) as figures
    from (
        select *
        from divided
        order by dataset, variant, tier, measure
    ) as sorted
),

outcome as (
    select
        dataset,
        variant,
        question_id,
        '' as judge,
        'answer_scores' as source,  -- noqa: RF04
        if(failed, 'failed', 'scored') as status
    from answer_scores
    union all
    select
        dataset,
        variant,
        question_id,
        '' as judge,
        'rrp_scores' as source,  -- noqa: RF04
        if(sentences is null, otherwise, 'scored') as status
    from trace
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'judge_verdicts' as source,  -- noqa: RF04
        status
    from judge_verdicts
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'answer_hits' as source,  -- noqa: RF04
        status
    from answer_hits
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'rrp_scores' as source,  -- noqa: RF04
        status
    from rrp_scores
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        'mqi_scores' as source,  -- noqa: RF04
        status
    from mqi_scores
),

counted as (
    select
        outcome.dataset,
        outcome.variant,
        outcome.judge,
        outcome.source,
        asked.tier,
        count(*) filter (where outcome.status = 'scored') as n_scored,
        count(*) filter (where outcome.status = 'unparseable') as n_unparseable,
        count(*) filter (where outcome.status = 'failed') as n_failed
    from outcome
    inner join asked on outcome.dataset = asked.dataset and outcome.question_id = asked.question_id
    group by outcome.dataset, outcome.variant, outcome.judge, outcome.source, asked.tier
),

-- What has no value yet has its row too.
wanted as (
    select
        counted.*,
        measures.measure
    from counted
    inner join (
        values
        ('answer_scores', false, 'exact_match'),
        ('answer_scores', false, 'substring_match'),
        ('answer_scores', false, 'f1'),
        ('answer_scores', false, 'f1_plain'),
        ('answer_scores', false, 'mean_tokens'),
        ('answer_scores', false, 'degenerate_rate'),
        ('judge_verdicts', true, 'judge_accuracy'),
        ('answer_hits', true, 'answer_hit_rate'),
        ('rrp_scores', true, 'arrival'),
        ('rrp_scores', true, 'redundancy'),
        ('rrp_scores', true, 'regulation'),
        ('rrp_scores', true, 'never_reached_rate'),
        ('rrp_scores', true, 'rrp_confidence'),
        ('rrp_scores', false, 'sentences'),
        ('mqi_scores', true, 'l_obs'),
        ('mqi_scores', true, 'l_obs_per_token'),
        ('mqi_scores', true, 'l_obs_per_mean_token'),
        ('mqi_scores', true, 'phase_1'),
        ('mqi_scores', true, 'phase_2'),
        ('mqi_scores', true, 'phase_3'),
        ('mqi_scores', true, 'phase_4'),
        ('mqi_scores', true, 'phase_5'),
        ('mqi_scores', true, 'mqi_confidence')
    ) as measures (source, is_judged, measure)
        on counted.source = measures.source and (counted.judge != '') = measures.is_judged
    union all
    select
        counted.*,
        series.measure
    from counted
    inner join series
        on
            counted.dataset = series.dataset
            and counted.variant = series.variant
            and counted.source = series.source
            and counted.judge = series.judge
    where regexp_full_match(series.measure, '(avg|maj|pass)_[0-9]+')
)

select  -- noqa: ST06
    wanted.dataset,
    wanted.variant,
    wanted.measure,
    wanted.judge,
    wanted.tier,
    wanted.source,
    coalesce(estimated.figures.n, 0) as n_questions,
    estimated.figures.estimate,
    estimated.figures.lo as estimate_lo,
    estimated.figures.hi as estimate_hi,
    wanted.n_scored,
    wanted.n_unparseable,
    wanted.n_failed,
    case when wanted.tier = 'all' and estimated.divisors is null then estimated.scores end as by_question,
    asked_in_all.questions_digest
from wanted
inner join asked_in_all on wanted.dataset = asked_in_all.dataset
left join estimated
    on
        wanted.dataset = estimated.dataset
        and wanted.variant = estimated.variant
        and wanted.measure = estimated.measure
        and wanted.judge = estimated.judge
        and wanted.tier = estimated.tier
order by wanted.dataset, wanted.variant, wanted.measure, wanted.judge, wanted.tier
