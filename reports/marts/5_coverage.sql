-- What was asked of each model: strips, measures and readouts; and whether it is done, does not apply, or is missing. Of a
-- strip, cells are levels times seeds; levels that the model refuses are left out.
CREATE TABLE coverage AS
WITH
    done AS (
        SELECT
            dataset, model, perturbation, variant,
            count(DISTINCT level) AS levels, count(DISTINCT seed) AS seeds,
            count(*) AS cells_asked, count(decisions) AS cells_done
        FROM asked
        LEFT JOIN cells USING (dataset, model, perturbation, variant, level, seed)
        GROUP BY ALL
    ),
    left_out AS (
        SELECT
            dataset, model, perturbation, variant,
            count(DISTINCT level) AS levels_left_out,
            string_agg(DISTINCT reason, '; ' ORDER BY reason) AS reason
        FROM refused
        GROUP BY ALL
    )
SELECT
    dataset, model, 'perturbation' AS kind,
    concat_ws(', ', replace(perturbation, '_', ' '), in_words(perturbation, variant)) AS what,
    CASE WHEN levels_left_out > 0 AND coalesce(levels, 0) < 2 THEN 'not applicable' ELSE 'done' END AS state,
    levels, seeds, cells_done, cells_asked, levels_left_out, reason
FROM done
FULL JOIN left_out USING (dataset, model, perturbation, variant)
UNION ALL BY NAME
SELECT
    dataset, model,
    if(measure IN ('probe', 'few_shot'), 'readout', 'measure') AS kind,
    CASE measure WHEN 'probe' THEN 'transfer' WHEN 'few_shot' THEN 'few shots' ELSE replace(measure, '_', ' ') END AS what,
    if(reason IS NULL, 'done', 'not applicable') AS state,
    reason
FROM measures
UNION ALL BY NAME
SELECT
    coalesce(dataset, transfer, few_shot) AS dataset, model,
    CASE kind WHEN 'predict' THEN 'perturbation' WHEN 'measure' THEN 'measure' ELSE 'readout' END AS kind,
    CASE kind
        WHEN 'predict' THEN concat_ws(', ', replace(perturbation, '_', ' '), in_words(perturbation, variant))
        WHEN 'measure' THEN replace(measure, '_', ' ')
        WHEN 'probe' THEN 'transfer'
        ELSE 'few shots'
    END AS what,
    'missing' AS state
FROM absent
WHERE kind IN ('predict', 'measure', 'probe', 'few_shot')
ORDER BY dataset, model, kind, what;
