-- The main table: accuracy and response length of every cell, each with its 95 % interval over questions.
-- A figure that is missing is NULL, never 0; the counts say how many scores stand behind each.
-- grain: dataset, variant
-- inputs: cell_metrics, variants
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
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
-- column n_tokens: responses whose tokens are known, behind mean_tokens
-- column n_verdicts: scored verdicts behind judge_accuracy
-- column n_hits: scored hits behind answer_hit_rate
-- column n_unparseable: replies of the primary judge that did not parse, over all four scores
-- column n_judge_failed: requests to the primary judge that failed, over all four scores
select
    cell_metrics.dataset,
    variants.model,
    variants.mode,
    cell_metrics.variant,
    cell_metrics.n_questions,
    cell_metrics.n_rollouts,
    cell_metrics.exact_match,
    cell_metrics.exact_match_lo,
    cell_metrics.exact_match_hi,
    cell_metrics.substring_match,
    cell_metrics.substring_match_lo,
    cell_metrics.substring_match_hi,
    cell_metrics.f1,
    cell_metrics.f1_lo,
    cell_metrics.f1_hi,
    cell_metrics.f1_plain,
    cell_metrics.f1_plain_lo,
    cell_metrics.f1_plain_hi,
    cell_metrics.judge_accuracy,
    cell_metrics.judge_accuracy_lo,
    cell_metrics.judge_accuracy_hi,
    cell_metrics.answer_hit_rate,
    cell_metrics.answer_hit_rate_lo,
    cell_metrics.answer_hit_rate_hi,
    cell_metrics.mean_tokens,
    cell_metrics.mean_tokens_lo,
    cell_metrics.mean_tokens_hi,
    cell_metrics.median_tokens,
    cell_metrics.p95_tokens,
    cell_metrics.unscorable_gold,
    cell_metrics.avg_1,
    cell_metrics.avg_1_lo,
    cell_metrics.avg_1_hi,
    cell_metrics.avg_2,
    cell_metrics.avg_2_lo,
    cell_metrics.avg_2_hi,
    cell_metrics.avg_4,
    cell_metrics.avg_4_lo,
    cell_metrics.avg_4_hi,
    cell_metrics.avg_8,
    cell_metrics.avg_8_lo,
    cell_metrics.avg_8_hi,
    cell_metrics.avg_16,
    cell_metrics.avg_16_lo,
    cell_metrics.avg_16_hi,
    cell_metrics.avg_32,
    cell_metrics.avg_32_lo,
    cell_metrics.avg_32_hi,
    cell_metrics.avg_64,
    cell_metrics.avg_64_lo,
    cell_metrics.avg_64_hi,
    cell_metrics.maj_1,
    cell_metrics.maj_1_lo,
    cell_metrics.maj_1_hi,
    cell_metrics.maj_2,
    cell_metrics.maj_2_lo,
    cell_metrics.maj_2_hi,
    cell_metrics.maj_4,
    cell_metrics.maj_4_lo,
    cell_metrics.maj_4_hi,
    cell_metrics.maj_8,
    cell_metrics.maj_8_lo,
    cell_metrics.maj_8_hi,
    cell_metrics.maj_16,
    cell_metrics.maj_16_lo,
    cell_metrics.maj_16_hi,
    cell_metrics.maj_32,
    cell_metrics.maj_32_lo,
    cell_metrics.maj_32_hi,
    cell_metrics.maj_64,
    cell_metrics.maj_64_lo,
    cell_metrics.maj_64_hi,
    cell_metrics.pass_1,
    cell_metrics.pass_1_lo,
    cell_metrics.pass_1_hi,
    cell_metrics.pass_2,
    cell_metrics.pass_2_lo,
    cell_metrics.pass_2_hi,
    cell_metrics.pass_4,
    cell_metrics.pass_4_lo,
    cell_metrics.pass_4_hi,
    cell_metrics.pass_8,
    cell_metrics.pass_8_lo,
    cell_metrics.pass_8_hi,
    cell_metrics.pass_16,
    cell_metrics.pass_16_lo,
    cell_metrics.pass_16_hi,
    cell_metrics.pass_32,
    cell_metrics.pass_32_lo,
    cell_metrics.pass_32_hi,
    cell_metrics.pass_64,
    cell_metrics.pass_64_lo,
    cell_metrics.pass_64_hi,
    cell_metrics.n_failed,
    cell_metrics.n_tokens,
    cell_metrics.n_verdicts,
    cell_metrics.n_hits,
    cell_metrics.n_unparseable,
    cell_metrics.n_judge_failed
from cell_metrics
inner join variants on cell_metrics.variant = variants.variant
order by cell_metrics.dataset, cell_metrics.variant
