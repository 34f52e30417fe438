-- Every figure of a cell that needs no other cell: answers, judged scores, response tokens, degeneration.
-- A question's value is the mean over its rollouts, and a cell's figure is the mean over questions. Rollouts whose
-- request failed are counted in n_failed and left out of the rest; a score that is missing is NULL, never 0.
-- Judged figures are those of the study's primary judge. x_lo and x_hi are the 95 % bootstrap interval of x.
-- grain: dataset, variant
-- inputs: answer_scores, cell_estimates, settings
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
-- estimate avg_16: mean exact match of the first 16 rollouts
-- estimate avg_32: mean exact match of the first 32 rollouts
-- estimate avg_64: mean exact match of the first 64 rollouts
-- estimate maj_1: exact match of the first rollout
-- estimate maj_2: exact match of the most common prediction among the first 2
-- estimate maj_4: exact match of the most common prediction among the first 4
-- estimate maj_8: exact match of the most common prediction among the first 8
-- estimate maj_16: exact match of the most common prediction among the first 16
-- estimate maj_32: exact match of the most common prediction among the first 32
-- estimate maj_64: exact match of the most common prediction among the first 64
-- estimate pass_1: chance that 1 of the rollouts, drawn at random, holds an exact match
-- estimate pass_2: chance that 2 of the rollouts, drawn at random, hold an exact match
-- estimate pass_4: chance that 4 of the rollouts, drawn at random, hold an exact match
-- estimate pass_8: chance that 8 of the rollouts, drawn at random, hold an exact match
-- estimate pass_16: chance that 16 of the rollouts, drawn at random, hold an exact match
-- estimate pass_32: chance that 32 of the rollouts, drawn at random, hold an exact match
-- estimate pass_64: chance that 64 of the rollouts, drawn at random, hold an exact match
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
-- column n_tokens: responses whose tokens are known, behind mean_tokens
-- column n_verdicts: scored verdicts behind judge_accuracy
-- column n_hits: scored hits behind answer_hit_rate
-- column n_rrp: scored profiles behind arrival, redundancy and regulation
-- column n_mqi: scored levels behind l_obs
-- column n_unparseable: replies of the primary judge that did not parse, over all four scores
-- column n_judge_failed: requests to the primary judge that failed, over all four scores
with
counted as (
    select
        dataset,
        variant,
        count(distinct question_id) as n_questions,
        count(*) as n_rollouts,
        count(distinct question_id) filter (where unscorable_gold) as unscorable_gold,
        quantile_cont(completion_tokens, 0.5) filter (where not failed) as median_tokens,
        quantile_cont(completion_tokens, 0.95) filter (where not failed) as p95_tokens,
        count(completion_tokens) filter (where not failed) as n_tokens,
        count(*) filter (where failed) as n_failed,
        count(*) filter (where truncated and not failed) as n_truncated,
        count(*) filter (where looping and not failed) as n_looping,
        count(*) filter (where degenerate and not failed) as n_degenerate,
        count(*) filter (where empty_reasoning and not failed) as n_empty_reasoning,
        count(*) filter (where not answer_found and not failed) as n_no_answer
    from answer_scores
    group by dataset, variant
),

primarily as (
    select cell_estimates.*
    from cell_estimates
    cross join settings
    where cell_estimates.tier = 'all' and cell_estimates.judge in ('', settings.primary_judge)
),

-- Each score is counted once, by one of its measures.
estimates as (
    select
        dataset,
        variant,
        map(
            list(measure), list(struct_pack(estimate := estimate, lo := estimate_lo, hi := estimate_hi))
        ) as of_measure,
        sum(n_scored) filter (where measure = 'judge_accuracy')::bigint as n_verdicts,
        sum(n_scored) filter (where measure = 'answer_hit_rate')::bigint as n_hits,
        sum(n_scored) filter (where measure = 'regulation')::bigint as n_rrp,
        sum(n_scored) filter (where measure = 'l_obs')::bigint as n_mqi,
        sum(n_unparseable) filter (
            where measure in ('judge_accuracy', 'answer_hit_rate', 'regulation', 'l_obs')
        )::bigint as n_unparseable,
        sum(n_failed) filter (
            where measure in ('judge_accuracy', 'answer_hit_rate', 'regulation', 'l_obs')
        )::bigint as n_judge_failed
    from primarily
    group by dataset, variant
)

select  -- noqa: ST06
    counted.dataset,
    counted.variant,
    counted.n_questions,
    counted.n_rollouts,
    estimates.of_measure['exact_match'].estimate as exact_match,
    estimates.of_measure['exact_match'].lo as exact_match_lo,
    estimates.of_measure['exact_match'].hi as exact_match_hi,
    estimates.of_measure['substring_match'].estimate as substring_match,
    estimates.of_measure['substring_match'].lo as substring_match_lo,
    estimates.of_measure['substring_match'].hi as substring_match_hi,
    estimates.of_measure['f1'].estimate as f1,
    estimates.of_measure['f1'].lo as f1_lo,
    estimates.of_measure['f1'].hi as f1_hi,
    estimates.of_measure['f1_plain'].estimate as f1_plain,
    estimates.of_measure['f1_plain'].lo as f1_plain_lo,
    estimates.of_measure['f1_plain'].hi as f1_plain_hi,
    estimates.of_measure['judge_accuracy'].estimate as judge_accuracy,
    estimates.of_measure['judge_accuracy'].lo as judge_accuracy_lo,
    estimates.of_measure['judge_accuracy'].hi as judge_accuracy_hi,
    estimates.of_measure['answer_hit_rate'].estimate as answer_hit_rate,
    estimates.of_measure['answer_hit_rate'].lo as answer_hit_rate_lo,
    estimates.of_measure['answer_hit_rate'].hi as answer_hit_rate_hi,
    estimates.of_measure['mean_tokens'].estimate as mean_tokens,
    estimates.of_measure['mean_tokens'].lo as mean_tokens_lo,
    estimates.of_measure['mean_tokens'].hi as mean_tokens_hi,
    counted.median_tokens,
    counted.p95_tokens,
    counted.unscorable_gold,
    estimates.of_measure['avg_1'].estimate as avg_1,
    estimates.of_measure['avg_1'].lo as avg_1_lo,
    estimates.of_measure['avg_1'].hi as avg_1_hi,
    estimates.of_measure['avg_2'].estimate as avg_2,
    estimates.of_measure['avg_2'].lo as avg_2_lo,
    estimates.of_measure['avg_2'].hi as avg_2_hi,
    estimates.of_measure['avg_4'].estimate as avg_4,
    estimates.of_measure['avg_4'].lo as avg_4_lo,
    estimates.of_measure['avg_4'].hi as avg_4_hi,
    estimates.of_measure['avg_8'].estimate as avg_8,
    estimates.of_measure['avg_8'].lo as avg_8_lo,
    estimates.of_measure['avg_8'].hi as avg_8_hi,
    estimates.of_measure['avg_16'].estimate as avg_16,
    estimates.of_measure['avg_16'].lo as avg_16_lo,
    estimates.of_measure['avg_16'].hi as avg_16_hi,
    estimates.of_measure['avg_32'].estimate as avg_32,
    estimates.of_measure['avg_32'].lo as avg_32_lo,
    estimates.of_measure['avg_32'].hi as avg_32_hi,
    estimates.of_measure['avg_64'].estimate as avg_64,
    estimates.of_measure['avg_64'].lo as avg_64_lo,
    estimates.of_measure['avg_64'].hi as avg_64_hi,
    estimates.of_measure['maj_1'].estimate as maj_1,
    estimates.of_measure['maj_1'].lo as maj_1_lo,
    estimates.of_measure['maj_1'].hi as maj_1_hi,
    estimates.of_measure['maj_2'].estimate as maj_2,
    estimates.of_measure['maj_2'].lo as maj_2_lo,
    estimates.of_measure['maj_2'].hi as maj_2_hi,
    estimates.of_measure['maj_4'].estimate as maj_4,
    estimates.of_measure['maj_4'].lo as maj_4_lo,
    estimates.of_measure['maj_4'].hi as maj_4_hi,
    estimates.of_measure['maj_8'].estimate as maj_8,
    estimates.of_measure['maj_8'].lo as maj_8_lo,
    estimates.of_measure['maj_8'].hi as maj_8_hi,
    estimates.of_measure['maj_16'].estimate as maj_16,
    estimates.of_measure['maj_16'].lo as maj_16_lo,
    estimates.of_measure['maj_16'].hi as maj_16_hi,
    estimates.of_measure['maj_32'].estimate as maj_32,
    estimates.of_measure['maj_32'].lo as maj_32_lo,
    estimates.of_measure['maj_32'].hi as maj_32_hi,
    estimates.of_measure['maj_64'].estimate as maj_64,
    estimates.of_measure['maj_64'].lo as maj_64_lo,
    estimates.of_measure['maj_64'].hi as maj_64_hi,
    estimates.of_measure['pass_1'].estimate as pass_1,
    estimates.of_measure['pass_1'].lo as pass_1_lo,
    estimates.of_measure['pass_1'].hi as pass_1_hi,
    estimates.of_measure['pass_2'].estimate as pass_2,
    estimates.of_measure['pass_2'].lo as pass_2_lo,
    estimates.of_measure['pass_2'].hi as pass_2_hi,
    estimates.of_measure['pass_4'].estimate as pass_4,
    estimates.of_measure['pass_4'].lo as pass_4_lo,
    estimates.of_measure['pass_4'].hi as pass_4_hi,
    estimates.of_measure['pass_8'].estimate as pass_8,
    estimates.of_measure['pass_8'].lo as pass_8_lo,
    estimates.of_measure['pass_8'].hi as pass_8_hi,
    estimates.of_measure['pass_16'].estimate as pass_16,
    estimates.of_measure['pass_16'].lo as pass_16_lo,
    estimates.of_measure['pass_16'].hi as pass_16_hi,
    estimates.of_measure['pass_32'].estimate as pass_32,
    estimates.of_measure['pass_32'].lo as pass_32_lo,
    estimates.of_measure['pass_32'].hi as pass_32_hi,
    estimates.of_measure['pass_64'].estimate as pass_64,
    estimates.of_measure['pass_64'].lo as pass_64_lo,
    estimates.of_measure['pass_64'].hi as pass_64_hi,
    counted.n_failed,
    counted.n_truncated,
    counted.n_looping,
    counted.n_degenerate,
    counted.n_empty_reasoning,
    counted.n_no_answer,
    estimates.of_measure['degenerate_rate'].estimate as degenerate_rate,
    estimates.of_measure['degenerate_rate'].lo as degenerate_rate_lo,
    estimates.of_measure['degenerate_rate'].hi as degenerate_rate_hi,
    estimates.of_measure['arrival'].estimate as arrival,
    estimates.of_measure['arrival'].lo as arrival_lo,
    estimates.of_measure['arrival'].hi as arrival_hi,
    estimates.of_measure['redundancy'].estimate as redundancy,
    estimates.of_measure['redundancy'].lo as redundancy_lo,
    estimates.of_measure['redundancy'].hi as redundancy_hi,
    estimates.of_measure['regulation'].estimate as regulation,
    estimates.of_measure['regulation'].lo as regulation_lo,
    estimates.of_measure['regulation'].hi as regulation_hi,
    estimates.of_measure['l_obs'].estimate as l_obs,
    estimates.of_measure['l_obs'].lo as l_obs_lo,
    estimates.of_measure['l_obs'].hi as l_obs_hi,
    counted.n_tokens,
    coalesce(estimates.n_verdicts, 0) as n_verdicts,
    coalesce(estimates.n_hits, 0) as n_hits,
    coalesce(estimates.n_rrp, 0) as n_rrp,
    coalesce(estimates.n_mqi, 0) as n_mqi,
    coalesce(estimates.n_unparseable, 0) as n_unparseable,
    coalesce(estimates.n_judge_failed, 0) as n_judge_failed
from counted
left join estimates on counted.dataset = estimates.dataset and counted.variant = estimates.variant
order by counted.dataset, counted.variant
