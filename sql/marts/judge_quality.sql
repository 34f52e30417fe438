-- How far the judges can be trusted, by cell, score and judge: replies that do not parse; agreement with the primary
-- judge where both scored a rollout; agreement of verdicts with exact match; agreement of a judge with itself, asked
-- again, and about the same trace with its paragraphs numbered otherwise. Each cell's rows are those of
-- judge_reliability. A score that the primary judge has not given has its row, with NULLs and n_replies 0.
-- grain: dataset, variant, score, judge
-- inputs: judge_reliability, variants
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
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
select
    judge_reliability.dataset,
    variants.model,
    variants.mode,
    judge_reliability.variant,
    judge_reliability.score,
    judge_reliability.judge,
    judge_reliability.n_replies,
    judge_reliability.n_scored,
    judge_reliability.n_unparseable,
    judge_reliability.n_failed,
    judge_reliability.n_reasks,
    judge_reliability.parse_failure_rate,
    judge_reliability.parse_failure_rate_lo,
    judge_reliability.parse_failure_rate_hi,
    judge_reliability.compared_with,
    judge_reliability.n_both,
    judge_reliability.agreement,
    judge_reliability.agreement_lo,
    judge_reliability.agreement_hi,
    judge_reliability.kappa,
    judge_reliability.kappa_lo,
    judge_reliability.kappa_hi,
    judge_reliability.alpha,
    judge_reliability.alpha_lo,
    judge_reliability.alpha_hi,
    judge_reliability.n_em,
    judge_reliability.em_agreement,
    judge_reliability.em_agreement_lo,
    judge_reliability.em_agreement_hi,
    judge_reliability.em_kappa,
    judge_reliability.em_kappa_lo,
    judge_reliability.em_kappa_hi,
    judge_reliability.n_retests,
    judge_reliability.retest_agreement,
    judge_reliability.retest_agreement_lo,
    judge_reliability.retest_agreement_hi,
    judge_reliability.retest_kappa,
    judge_reliability.retest_kappa_lo,
    judge_reliability.retest_kappa_hi,
    judge_reliability.retest_alpha,
    judge_reliability.retest_alpha_lo,
    judge_reliability.retest_alpha_hi,
    judge_reliability.n_renumbered,
    judge_reliability.renumbered_agreement,
    judge_reliability.renumbered_agreement_lo,
    judge_reliability.renumbered_agreement_hi,
    judge_reliability.renumbered_shift,
    judge_reliability.renumbered_shift_lo,
    judge_reliability.renumbered_shift_hi
from judge_reliability
inner join variants on judge_reliability.variant = variants.variant
order by judge_reliability.dataset, judge_reliability.variant, judge_reliability.score, judge_reliability.judge
