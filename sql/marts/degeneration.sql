-- Responses that did not end well: cut off, running in circles, without reasoning or without an answer.
-- The counts are of responses; rollouts whose request failed are in n_failed alone.
-- grain: dataset, variant
-- inputs: cell_metrics, variants
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column n_rollouts: rollouts, failed ones included
-- column n_failed: rollouts whose request failed
-- column n_truncated: responses that the server stopped for length
-- column n_looping: responses that repeat a window of 8 tokens at least 6 times
-- column n_degenerate: responses that are truncated, looping or both
-- estimate degenerate_rate: mean of "degenerate" over the responses
-- column n_empty_reasoning: responses without any reasoning
-- column n_no_answer: responses without a pair of answer tags
select
    cell_metrics.dataset,
    variants.model,
    variants.mode,
    cell_metrics.variant,
    cell_metrics.n_rollouts,
    cell_metrics.n_failed,
    cell_metrics.n_truncated,
    cell_metrics.n_looping,
    cell_metrics.n_degenerate,
    cell_metrics.degenerate_rate,
    cell_metrics.degenerate_rate_lo,
    cell_metrics.degenerate_rate_hi,
    cell_metrics.n_empty_reasoning,
    cell_metrics.n_no_answer
from cell_metrics
inner join variants on cell_metrics.variant = variants.variant
order by cell_metrics.dataset, cell_metrics.variant
