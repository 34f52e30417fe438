-- Metacognitive Quality Index of every cell, by judge and difficulty tier: MQI = mean(L_obs) * T_b / T, with T the mean
-- response tokens of the cell and T_b those of the base variant of the same model on the same dataset. Tier `all` is
-- the cell; in the rows of a tier L_obs, T and T_b are those of the questions of that tier. Means are over questions.
-- L_obs is of the questions with a scored trace, T of all; in the interval of mqi T_b is a constant.
-- A cell or tier that was not judged has its row, with NULLs and n_scored 0.
-- grain: dataset, variant, judge, tier
-- inputs: cell_metrics, cell_estimates, variants, settings
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column judge: model that judged
-- column tier: all, or the questions' difficulty: easy, medium, hard
-- estimate l_obs: mean observed level, 0 to 5
-- estimate mqi: Metacognitive Quality Index
-- estimate mqi_per_sample: mean of L_obs_i * T_b / T_i over the rollouts
-- estimate phase_1: share of traces that show phase 1, understanding and filtering
-- estimate phase_2: share of traces that show phase 2, planning
-- estimate phase_3: share of traces that show phase 3, execution and monitoring
-- estimate phase_4: share of traces that show phase 4, self-correction
-- estimate phase_5: share of traces that show phase 5, verification
-- column confidence: mean confidence of the judge in the final answer
-- column mean_tokens: T, mean response tokens
-- column base_mean_tokens: T_b, those of the base variant
-- column n_scored: traces with a level
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
    where source = 'mqi_scores' and judge != ''
),

tier_tokens as (
    select
        dataset,
        variant,
        tier,
        estimate as tokens
    from cell_estimates
    where measure = 'mean_tokens'
),

anchored as (
    select
        judging.dataset,
        judging.variant,
        judging.judge,
        tiers.tier,
        variants.model,
        variants.mode,
        own.tokens,
        base.tokens as base_tokens
    from judging
    inner join variants on judging.variant = variants.variant
    cross join (values ('all'), ('easy'), ('medium'), ('hard')) as tiers (tier)
    left join tier_tokens as own
        on judging.dataset = own.dataset and judging.variant = own.variant and tiers.tier = own.tier
    left join tier_tokens as base
        on judging.dataset = base.dataset and variants.base_variant = base.variant and tiers.tier = base.tier
),

estimates as (
    select
        dataset,
        variant,
        judge,
        tier,
        map(
            list(measure), list(struct_pack(estimate := estimate, lo := estimate_lo, hi := estimate_hi))
        ) as of_measure,
        any_value(n_scored) as n_scored,
        any_value(n_unparseable) as n_unparseable,
        any_value(n_failed) as n_failed
    from cell_estimates
    where source = 'mqi_scores' and judge != ''
    group by dataset, variant, judge, tier
)

select  -- noqa: ST06
    anchored.dataset,
    anchored.model,
    anchored.mode,
    anchored.variant,
    anchored.judge,
    anchored.tier,
    estimates.of_measure['l_obs'].estimate as l_obs,
    estimates.of_measure['l_obs'].lo as l_obs_lo,
    estimates.of_measure['l_obs'].hi as l_obs_hi,
    estimates.of_measure['l_obs'].estimate * anchored.base_tokens / nullif(anchored.tokens, 0) as mqi,
    estimates.of_measure['l_obs_per_mean_token'].lo * anchored.base_tokens as mqi_lo,
    estimates.of_measure['l_obs_per_mean_token'].hi * anchored.base_tokens as mqi_hi,
    estimates.of_measure['l_obs_per_token'].estimate * anchored.base_tokens as mqi_per_sample,
    estimates.of_measure['l_obs_per_token'].lo * anchored.base_tokens as mqi_per_sample_lo,
    estimates.of_measure['l_obs_per_token'].hi * anchored.base_tokens as mqi_per_sample_hi,
    estimates.of_measure['phase_1'].estimate as phase_1,
    estimates.of_measure['phase_1'].lo as phase_1_lo,
    estimates.of_measure['phase_1'].hi as phase_1_hi,
    estimates.of_measure['phase_2'].estimate as phase_2,
    estimates.of_measure['phase_2'].lo as phase_2_lo,
    estimates.of_measure['phase_2'].hi as phase_2_hi,
    estimates.of_measure['phase_3'].estimate as phase_3,
    estimates.of_measure['phase_3'].lo as phase_3_lo,
    estimates.of_measure['phase_3'].hi as phase_3_hi,
    estimates.of_measure['phase_4'].estimate as phase_4,
    estimates.of_measure['phase_4'].lo as phase_4_lo,
    estimates.of_measure['phase_4'].hi as phase_4_hi,
    estimates.of_measure['phase_5'].estimate as phase_5,
    estimates.of_measure['phase_5'].lo as phase_5_lo,
    estimates.of_measure['phase_5'].hi as phase_5_hi,
    estimates.of_measure['mqi_confidence'].estimate as confidence,
    anchored.tokens as mean_tokens,
    anchored.base_tokens as base_mean_tokens,
    coalesce(estimates.n_scored, 0) as n_scored,
    coalesce(estimates.n_unparseable, 0) as n_unparseable,
    coalesce(estimates.n_failed, 0) as n_failed
from anchored
left join estimates
    on
        anchored.dataset = estimates.dataset
        and anchored.variant = estimates.variant
        and anchored.judge = estimates.judge
        and anchored.tier = estimates.tier
order by
    anchored.dataset, anchored.variant, anchored.judge,
    list_position(['all', 'easy', 'medium', 'hard'], anchored.tier)
