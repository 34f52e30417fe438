-- Metacognitive Quality Index of every cell, by judge and difficulty tier: MQI = mean(L_obs) * T_b / T, with T the mean
-- response tokens of the cell and T_b those of the base variant of the same model on the same dataset. Tier `all` is
-- the cell; in the rows of a tier L_obs, T and T_b are those of the questions of that tier. Means are over questions.
-- In the interval of mqi T_b is a constant, and T is that of the questions with a scored trace.
-- A cell or tier that was not judged has its row, with NULLs and n_scored 0.
-- grain: dataset, variant, judge, tier
-- inputs: cell_metrics, mqi_scores, answer_scores, validation_questions, variants, settings
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
    from mqi_scores
),

-- Every question stands in its own tier and in `all`.
tiered as (
    select
        dataset,
        question_id,
        unnest(['all', tier]) as tier
    from validation_questions
),

question_tokens as (
    select
        dataset,
        variant,
        question_id,
        avg(completion_tokens) as tokens
    from answer_scores
    where not failed
    group by dataset, variant, question_id
),

tier_tokens as (
    select
        question_tokens.dataset,
        question_tokens.variant,
        tiered.tier,
        avg(question_tokens.tokens) as tokens
    from question_tokens
    inner join tiered
        on question_tokens.dataset = tiered.dataset and question_tokens.question_id = tiered.question_id
    group by question_tokens.dataset, question_tokens.variant, tiered.tier
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

question as (
    select
        mqi_scores.dataset,
        mqi_scores.variant,
        mqi_scores.judge,
        mqi_scores.question_id,
        avg(mqi_scores.l_obs) as l_obs,
        avg(mqi_scores.l_obs / nullif(answer_scores.completion_tokens, 0)) as l_obs_per_token,
        avg(list_contains(mqi_scores.phases, 1)::double) as phase_1,
        avg(list_contains(mqi_scores.phases, 2)::double) as phase_2,
        avg(list_contains(mqi_scores.phases, 3)::double) as phase_3,
        avg(list_contains(mqi_scores.phases, 4)::double) as phase_4,
        avg(list_contains(mqi_scores.phases, 5)::double) as phase_5,
        avg(mqi_scores.confidence) as confidence
    from mqi_scores
    left join answer_scores
        on
            mqi_scores.dataset = answer_scores.dataset
            and mqi_scores.variant = answer_scores.variant
            and mqi_scores.question_id = answer_scores.question_id
            and mqi_scores.rollout_id = answer_scores.rollout_id
    where mqi_scores.status = 'scored'
    group by mqi_scores.dataset, mqi_scores.variant, mqi_scores.judge, mqi_scores.question_id
),

tiered_question as (
    select
        question.*,
        tiered.tier,
        question_tokens.tokens
    from question
    inner join tiered on question.dataset = tiered.dataset and question.question_id = tiered.question_id
    left join question_tokens
        on
            question.dataset = question_tokens.dataset
            and question.variant = question_tokens.variant
            and question.question_id = question_tokens.question_id
),

-- Sorted, so that the lists come to the function together and are resampled in one go.
listed as (
    select
        dataset,
        variant,
        judge,
        tier,
        avg(confidence) as confidence,
        list(tokens order by question_id) as tokens,
        avg(l_obs) as l_obs,
        list(l_obs order by question_id) as l_obs_list,
        avg(l_obs_per_token) as l_obs_per_token,
        list(l_obs_per_token order by question_id) as l_obs_per_token_list,
        avg(phase_1) as phase_1,
        list(phase_1 order by question_id) as phase_1_list,
        avg(phase_2) as phase_2,
        list(phase_2 order by question_id) as phase_2_list,
        avg(phase_3) as phase_3,
        list(phase_3 order by question_id) as phase_3_list,
        avg(phase_4) as phase_4,
        list(phase_4 order by question_id) as phase_4_list,
        avg(phase_5) as phase_5,
        list(phase_5 order by question_id) as phase_5_list
    from tiered_question
    group by dataset, variant, judge, tier
    order by dataset, variant, judge, tier
),

estimated as (
    select  -- noqa: ST06
        dataset,
        variant,
        judge,
        tier,
        confidence,
        bootstrap_ratio(l_obs_list, tokens) as l_obs_per_mean_token_ci,
        l_obs,
        bootstrap_mean(l_obs_list) as l_obs_ci,
        l_obs_per_token,
        bootstrap_mean(l_obs_per_token_list) as l_obs_per_token_ci,
        phase_1,
        bootstrap_mean(phase_1_list) as phase_1_ci,
        phase_2,
        bootstrap_mean(phase_2_list) as phase_2_ci,
        phase_3,
        bootstrap_mean(phase_3_list) as phase_3_ci,
        phase_4,
        bootstrap_mean(phase_4_list) as phase_4_ci,
        phase_5,
        bootstrap_mean(phase_5_list) as phase_5_ci
    from listed
),

counted as (
    select
        mqi_scores.dataset,
        mqi_scores.variant,
        mqi_scores.judge,
        tiered.tier,
        count(*) filter (where mqi_scores.status = 'scored') as n_scored,
        count(*) filter (where mqi_scores.status = 'unparseable') as n_unparseable,
        count(*) filter (where mqi_scores.status = 'failed') as n_failed
    from mqi_scores
    inner join tiered on mqi_scores.dataset = tiered.dataset and mqi_scores.question_id = tiered.question_id
    group by mqi_scores.dataset, mqi_scores.variant, mqi_scores.judge, tiered.tier
)

select  -- noqa: ST06
    anchored.dataset,
    anchored.model,
    anchored.mode,
    anchored.variant,
    anchored.judge,
    anchored.tier,
    estimated.l_obs,
    estimated.l_obs_ci.lo as l_obs_lo,
    estimated.l_obs_ci.hi as l_obs_hi,
    estimated.l_obs * anchored.base_tokens / nullif(anchored.tokens, 0) as mqi,
    estimated.l_obs_per_mean_token_ci.lo * anchored.base_tokens as mqi_lo,
    estimated.l_obs_per_mean_token_ci.hi * anchored.base_tokens as mqi_hi,
    estimated.l_obs_per_token * anchored.base_tokens as mqi_per_sample,
    estimated.l_obs_per_token_ci.lo * anchored.base_tokens as mqi_per_sample_lo,
    estimated.l_obs_per_token_ci.hi * anchored.base_tokens as mqi_per_sample_hi,
    estimated.phase_1,
    estimated.phase_1_ci.lo as phase_1_lo,
    estimated.phase_1_ci.hi as phase_1_hi,
    estimated.phase_2,
    estimated.phase_2_ci.lo as phase_2_lo,
    estimated.phase_2_ci.hi as phase_2_hi,
    estimated.phase_3,
    estimated.phase_3_ci.lo as phase_3_lo,
    estimated.phase_3_ci.hi as phase_3_hi,
    estimated.phase_4,
    estimated.phase_4_ci.lo as phase_4_lo,
    estimated.phase_4_ci.hi as phase_4_hi,
    estimated.phase_5,
    estimated.phase_5_ci.lo as phase_5_lo,
    estimated.phase_5_ci.hi as phase_5_hi,
    estimated.confidence,
    anchored.tokens as mean_tokens,
    anchored.base_tokens as base_mean_tokens,
    coalesce(counted.n_scored, 0) as n_scored,
    coalesce(counted.n_unparseable, 0) as n_unparseable,
    coalesce(counted.n_failed, 0) as n_failed
from anchored
left join estimated
    on
        anchored.dataset = estimated.dataset
        and anchored.variant = estimated.variant
        and anchored.judge = estimated.judge
        and anchored.tier = estimated.tier
left join counted
    on
        anchored.dataset = counted.dataset
        and anchored.variant = counted.variant
        and anchored.judge = counted.judge
        and anchored.tier = counted.tier
order by
    anchored.dataset, anchored.variant, anchored.judge,
    list_position(['all', 'easy', 'medium', 'hard'], anchored.tier)
