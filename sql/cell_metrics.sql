-- Every figure of a cell that needs no other cell: answers, judged scores, response tokens, degeneration.
-- A question's value is the mean over its rollouts, and a cell's figure is the mean over questions. Rollouts whose
-- request failed are counted in n_failed and left out of the rest; a score that is missing is NULL, never 0.
-- Judged figures are those of the study's primary judge. x_lo and x_hi are the 95 % bootstrap interval of x.
-- grain: dataset, variant
-- inputs: answer_scores, judge_verdicts, answer_hits, rrp_scores, mqi_scores, settings
-- column dataset: dataset of the cell
-- column variant: model__mode
-- column n_questions: questions with at least one rollout
-- column n_rollouts: rollouts, failed ones included
-- estimate exact_match: mean exact match
-- estimate substring_match: mean of "a gold answer stands in the prediction"
-- estimate f1: mean token F1, with HotpotQA's yes/no rule
-- estimate f1_plain: mean token F1 without that rule
-- estimate judge_accuracy: mean of judge_correct over the scored verdicts
-- estimate answer_hit_rate: mean of answer_hit over the scored hits
-- estimate mean_tokens: mean response tokens, reasoning included
-- column median_tokens: median response tokens over rollouts
-- column p95_tokens: 95th percentile of response tokens over rollouts, interpolated
-- column unscorable_gold: questions whose gold answer and aliases are all empty after normalisation
-- estimate avg_1: mean exact match of the first rollout; as all of these, NULL where no question has so many
-- estimate avg_2: mean exact match of the first 2 rollouts
-- estimate avg_4: mean exact match of the first 4 rollouts
-- estimate avg_8: mean exact match of the first 8 rollouts
-- estimate maj_1: exact match of the first rollout
-- estimate maj_2: exact match of the most common prediction among the first 2
-- estimate maj_4: exact match of the most common prediction among the first 4
-- estimate maj_8: exact match of the most common prediction among the first 8
-- estimate pass_1: chance that 1 of the rollouts, drawn at random, holds an exact match
-- estimate pass_2: chance that 2 of the rollouts, drawn at random, hold an exact match
-- estimate pass_4: chance that 4 of the rollouts, drawn at random, hold an exact match
-- estimate pass_8: chance that 8 of the rollouts, drawn at random, hold an exact match
-- column n_failed: rollouts whose request failed
-- column n_truncated: responses that the server stopped for length
-- column n_looping: responses that repeat a window of 8 tokens at least 6 times
-- column n_degenerate: responses that are truncated, looping or both
-- column n_empty_reasoning: responses without any reasoning
-- column n_no_answer: responses without a pair of answer tags
-- estimate degenerate_rate: mean of "degenerate" over the responses
-- estimate arrival: mean arrival of RRP
-- estimate redundancy: mean redundant fraction of RRP
-- estimate regulation: mean regulation of RRP
-- estimate l_obs: mean observed level of MQI, 0 to 5
-- column n_verdicts: scored verdicts behind judge_accuracy
-- column n_hits: scored hits behind answer_hit_rate
-- column n_rrp: scored profiles behind arrival, redundancy and regulation
-- column n_mqi: scored levels behind l_obs
-- column n_unparseable: replies of the primary judge that did not parse, over all four scores
-- column n_judge_failed: requests to the primary judge that failed, over all four scores
with
response as (
    select
        *,
        row_number() over (partition by dataset, variant, question_id order by rollout_id) as nth,
        count(*) over (partition by dataset, variant, question_id) as n,
        sum(exact_match) over (partition by dataset, variant, question_id) as n_right
    from answer_scores
    where not failed
),

counted as (
    select
        dataset,
        variant,
        count(distinct question_id) as n_questions,
        count(*) as n_rollouts,
        count(distinct question_id) filter (where unscorable_gold) as unscorable_gold,
        quantile_cont(completion_tokens, 0.5) filter (where not failed) as median_tokens,
        quantile_cont(completion_tokens, 0.95) filter (where not failed) as p95_tokens,
        count(*) filter (where failed) as n_failed,
        count(*) filter (where truncated and not failed) as n_truncated,
        count(*) filter (where looping and not failed) as n_looping,
        count(*) filter (where degenerate and not failed) as n_degenerate,
        count(*) filter (where empty_reasoning and not failed) as n_empty_reasoning,
        count(*) filter (where not answer_found and not failed) as n_no_answer
    from answer_scores
    group by dataset, variant
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
    inner join (values (1), (2), (4), (8)) as ks (k)
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

judged as (
    select
        dataset,
        variant,
        question_id,
        judge,
        status,
        'n_verdicts' as counter,
        ['judge_accuracy'] as measures,
        [judge_correct] as scores
    from judge_verdicts
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        status,
        'n_hits' as counter,
        ['answer_hit_rate'] as measures,
        [answer_hit] as scores
    from answer_hits
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        status,
        'n_rrp' as counter,
        ['arrival', 'redundancy', 'regulation'] as measures,
        [arrival, redundant_fraction, regulation] as scores
    from rrp_scores
    union all
    select
        dataset,
        variant,
        question_id,
        judge,
        status,
        'n_mqi' as counter,
        ['l_obs'] as measures,
        [l_obs::double] as scores
    from mqi_scores
),

primarily_judged as (
    select judged.*
    from judged
    inner join settings on judged.judge = settings.primary_judge
),

judge_count as (
    select
        dataset,
        variant,
        count(*) filter (where status = 'scored' and counter = 'n_verdicts') as n_verdicts,
        count(*) filter (where status = 'scored' and counter = 'n_hits') as n_hits,
        count(*) filter (where status = 'scored' and counter = 'n_rrp') as n_rrp,
        count(*) filter (where status = 'scored' and counter = 'n_mqi') as n_mqi,
        count(*) filter (where status = 'unparseable') as n_unparseable,
        count(*) filter (where status = 'failed') as n_judge_failed
    from primarily_judged
    group by dataset, variant
),

-- Everything that is averaged, one row per measure and rollout (or question, where it is one number per question).
measured as (
    select
        dataset,
        variant,
        question_id,
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
        unnest(['avg_' || k, 'maj_' || k, 'pass_' || k]) as measure,
        unnest([avg_at_k, maj_at_k, pass_at_k]) as score
    from repeated
    union all
    select
        dataset,
        variant,
        question_id,
        unnest(measures) as measure,
        unnest(scores) as score
    from primarily_judged
    where status = 'scored'
),

question as (
    select
        dataset,
        variant,
        measure,
        question_id,
        avg(score) as score
    from measured
    group by dataset, variant, measure, question_id
),

-- Sorted, so that the lists come to the function together and are resampled in one go.
listed as (
    select
        dataset,
        variant,
        measure,
        avg(score) as score,
        list(score order by question_id) as scores
    from question
    group by dataset, variant, measure
    order by dataset, variant, measure
),

estimated as (
    select
        dataset,
        variant,
        measure,
        struct_pack(mean := score, ci := bootstrap_mean(scores)) as figures
    from listed
),

estimates as (
    select
        dataset,
        variant,
        map(list(measure), list(figures)) as estimate
    from estimated
    group by dataset, variant
)

select  -- noqa: ST06
    counted.dataset,
    counted.variant,
    counted.n_questions,
    counted.n_rollouts,
    estimates.estimate['exact_match'].mean as exact_match,
    estimates.estimate['exact_match'].ci.lo as exact_match_lo,
    estimates.estimate['exact_match'].ci.hi as exact_match_hi,
    estimates.estimate['substring_match'].mean as substring_match,
    estimates.estimate['substring_match'].ci.lo as substring_match_lo,
    estimates.estimate['substring_match'].ci.hi as substring_match_hi,
    estimates.estimate['f1'].mean as f1,
    estimates.estimate['f1'].ci.lo as f1_lo,
    estimates.estimate['f1'].ci.hi as f1_hi,
    estimates.estimate['f1_plain'].mean as f1_plain,
    estimates.estimate['f1_plain'].ci.lo as f1_plain_lo,
    estimates.estimate['f1_plain'].ci.hi as f1_plain_hi,
    estimates.estimate['judge_accuracy'].mean as judge_accuracy,
    estimates.estimate['judge_accuracy'].ci.lo as judge_accuracy_lo,
    estimates.estimate['judge_accuracy'].ci.hi as judge_accuracy_hi,
    estimates.estimate['answer_hit_rate'].mean as answer_hit_rate,
    estimates.estimate['answer_hit_rate'].ci.lo as answer_hit_rate_lo,
    estimates.estimate['answer_hit_rate'].ci.hi as answer_hit_rate_hi,
    estimates.estimate['mean_tokens'].mean as mean_tokens,
    estimates.estimate['mean_tokens'].ci.lo as mean_tokens_lo,
    estimates.estimate['mean_tokens'].ci.hi as mean_tokens_hi,
    counted.median_tokens,
    counted.p95_tokens,
    counted.unscorable_gold,
    estimates.estimate['avg_1'].mean as avg_1,
    estimates.estimate['avg_1'].ci.lo as avg_1_lo,
    estimates.estimate['avg_1'].ci.hi as avg_1_hi,
    estimates.estimate['avg_2'].mean as avg_2,
    estimates.estimate['avg_2'].ci.lo as avg_2_lo,
    estimates.estimate['avg_2'].ci.hi as avg_2_hi,
    estimates.estimate['avg_4'].mean as avg_4,
    estimates.estimate['avg_4'].ci.lo as avg_4_lo,
    estimates.estimate['avg_4'].ci.hi as avg_4_hi,
    estimates.estimate['avg_8'].mean as avg_8,
    estimates.estimate['avg_8'].ci.lo as avg_8_lo,
    estimates.estimate['avg_8'].ci.hi as avg_8_hi,
    estimates.estimate['maj_1'].mean as maj_1,
    estimates.estimate['maj_1'].ci.lo as maj_1_lo,
    estimates.estimate['maj_1'].ci.hi as maj_1_hi,
    estimates.estimate['maj_2'].mean as maj_2,
    estimates.estimate['maj_2'].ci.lo as maj_2_lo,
    estimates.estimate['maj_2'].ci.hi as maj_2_hi,
    estimates.estimate['maj_4'].mean as maj_4,
    estimates.estimate['maj_4'].ci.lo as maj_4_lo,
    estimates.estimate['maj_4'].ci.hi as maj_4_hi,
    estimates.estimate['maj_8'].mean as maj_8,
    estimates.estimate['maj_8'].ci.lo as maj_8_lo,
    estimates.estimate['maj_8'].ci.hi as maj_8_hi,
    estimates.estimate['pass_1'].mean as pass_1,
    estimates.estimate['pass_1'].ci.lo as pass_1_lo,
    estimates.estimate['pass_1'].ci.hi as pass_1_hi,
    estimates.estimate['pass_2'].mean as pass_2,
    estimates.estimate['pass_2'].ci.lo as pass_2_lo,
    estimates.estimate['pass_2'].ci.hi as pass_2_hi,
    estimates.estimate['pass_4'].mean as pass_4,
    estimates.estimate['pass_4'].ci.lo as pass_4_lo,
    estimates.estimate['pass_4'].ci.hi as pass_4_hi,
    estimates.estimate['pass_8'].mean as pass_8,
    estimates.estimate['pass_8'].ci.lo as pass_8_lo,
    estimates.estimate['pass_8'].ci.hi as pass_8_hi,
    counted.n_failed,
    counted.n_truncated,
    counted.n_looping,
    counted.n_degenerate,
    counted.n_empty_reasoning,
    counted.n_no_answer,
    estimates.estimate['degenerate_rate'].mean as degenerate_rate,
    estimates.estimate['degenerate_rate'].ci.lo as degenerate_rate_lo,
    estimates.estimate['degenerate_rate'].ci.hi as degenerate_rate_hi,
    estimates.estimate['arrival'].mean as arrival,
    estimates.estimate['arrival'].ci.lo as arrival_lo,
    estimates.estimate['arrival'].ci.hi as arrival_hi,
    estimates.estimate['redundancy'].mean as redundancy,
    estimates.estimate['redundancy'].ci.lo as redundancy_lo,
    estimates.estimate['redundancy'].ci.hi as redundancy_hi,
    estimates.estimate['regulation'].mean as regulation,
    estimates.estimate['regulation'].ci.lo as regulation_lo,
    estimates.estimate['regulation'].ci.hi as regulation_hi,
    estimates.estimate['l_obs'].mean as l_obs,
    estimates.estimate['l_obs'].ci.lo as l_obs_lo,
    estimates.estimate['l_obs'].ci.hi as l_obs_hi,
    coalesce(judge_count.n_verdicts, 0) as n_verdicts,
    coalesce(judge_count.n_hits, 0) as n_hits,
    coalesce(judge_count.n_rrp, 0) as n_rrp,
    coalesce(judge_count.n_mqi, 0) as n_mqi,
    coalesce(judge_count.n_unparseable, 0) as n_unparseable,
    coalesce(judge_count.n_judge_failed, 0) as n_judge_failed
from counted
left join estimates on counted.dataset = estimates.dataset and counted.variant = estimates.variant
left join judge_count on counted.dataset = judge_count.dataset and counted.variant = judge_count.variant
order by counted.dataset, counted.variant
