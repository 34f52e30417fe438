-- Accuracy-Efficiency Score of every cell against the base variant of the same model on the same dataset.
-- With A the mean exact match and L the mean response tokens: dL = (L_b - L) / L_b, dA = (A - A_b) / A_b, and
-- AES = alpha dL + beta dA if dA >= 0, else alpha dL - gamma |dA|. aes_judge takes judged accuracy for A.
-- Source: O1-Pruner, arXiv 2501.12570. Where it is undefined it is NULL and a reason says why, never infinity.
-- grain: dataset, variant
-- inputs: cell_metrics, variants, settings
-- column dataset: dataset of the cell
-- column model: model of the variant
-- column mode: mode of the variant
-- column variant: model__mode
-- column base_variant: the variant that it is compared with
-- column exact_match: A, mean exact match
-- column base_exact_match: A_b, that of the base variant
-- column judge_accuracy: judged accuracy
-- column base_judge_accuracy: that of the base variant
-- column mean_tokens: L, mean response tokens
-- column base_mean_tokens: L_b, those of the base variant
-- column delta_tokens: share of tokens saved (dL); negative where responses grew
-- column delta_accuracy: relative gain in exact match (dA)
-- column delta_judge_accuracy: relative gain in judged accuracy
-- column aes: Accuracy-Efficiency Score; 0 for the base itself
-- column aes_judge: the same with judged accuracy
-- column reason: why aes is NULL
-- column reason_judge: why aes_judge is NULL
with
compared as (
    select
        cell.dataset,
        variants.model,
        variants.mode,
        cell.variant,
        variants.base_variant,
        cell.exact_match,
        base.exact_match as base_exact_match,
        cell.judge_accuracy,
        base.judge_accuracy as base_judge_accuracy,
        cell.mean_tokens,
        base.mean_tokens as base_mean_tokens,
        (base.mean_tokens - cell.mean_tokens) / nullif(base.mean_tokens, 0) as delta_tokens,
        (cell.exact_match - base.exact_match) / nullif(base.exact_match, 0) as delta_accuracy,
        (cell.judge_accuracy - base.judge_accuracy) / nullif(base.judge_accuracy, 0) as delta_judge_accuracy,
        case
            when base.variant is null then 'the base variant has no cell on this dataset'
            when cell.mean_tokens is null then 'no response tokens are known'
            when base.mean_tokens is null then 'no response tokens of the base variant are known'
            when base.mean_tokens = 0 then 'the base variant has 0 mean tokens'
        end as reason
    from cell_metrics as cell
    inner join variants on cell.variant = variants.variant
    left join cell_metrics as base
        on cell.dataset = base.dataset and variants.base_variant = base.variant
)

select  -- noqa: ST06
    compared.dataset,
    compared.model,
    compared.mode,
    compared.variant,
    compared.base_variant,
    compared.exact_match,
    compared.base_exact_match,
    compared.judge_accuracy,
    compared.base_judge_accuracy,
    compared.mean_tokens,
    compared.base_mean_tokens,
    compared.delta_tokens,
    compared.delta_accuracy,
    compared.delta_judge_accuracy,
    settings.alpha * compared.delta_tokens
    + if(compared.delta_accuracy >= 0, settings.beta, settings.gamma) * compared.delta_accuracy as aes,
    settings.alpha * compared.delta_tokens
    + if(compared.delta_judge_accuracy >= 0, settings.beta, settings.gamma)
    * compared.delta_judge_accuracy as aes_judge,
    case
        when compared.reason is not null then compared.reason
        when compared.exact_match is null then 'no scored answers'
        when compared.base_exact_match is null then 'no scored answers of the base variant'
        when compared.base_exact_match = 0 then 'the base variant has an exact match of 0'
    end as reason,
    case
        when compared.reason is not null then compared.reason
        when compared.judge_accuracy is null then 'no scored verdicts'
        when compared.base_judge_accuracy is null then 'no scored verdicts of the base variant'
        when compared.base_judge_accuracy = 0 then 'the base variant has a judged accuracy of 0'
    end as reason_judge
from compared
cross join settings
order by compared.dataset, compared.variant
