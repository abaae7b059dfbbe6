-- What was measured here beside what the paper tells of the same model, images and condition. `unit` is % where values
-- are shares, else nothing. The cosine of the two tokens is compared in the last block after the norm; the paper does
-- not tell of which block it is.
CREATE TABLE beside_paper AS
WITH
    last_cosines AS (
        SELECT
            dataset, model,
            avg(cosine) AS measured,
            measured - mean_margin(cosine) AS low,
            measured + mean_margin(cosine) AS high
        FROM token_similarity
        GROUP BY dataset, model, block
        QUALIFY block = max(block) OVER (PARTITION BY dataset, model)
    ),
    compared AS (
        SELECT
            perturbation AS experiment, model, dataset,
            concat_ws(', ', in_words(perturbation, variant), format('level {:g}', level)) AS condition,
            level AS sorted, '%' AS unit, top1 AS measured, low, high, p.published, source
        FROM measured
        JOIN published_here AS p USING (dataset, model, perturbation, variant, level)
        UNION ALL BY NAME
        SELECT
            'untouched images' AS experiment, model, dataset, 'top-1' AS condition, '%' AS unit,
            top1 AS measured, low, high, published, source
        FROM models
        JOIN published_here USING (dataset, model)
        WHERE experiment IN ('shape_distillation', 'position_and_patch_size') AND metric = 'top1'
        UNION ALL BY NAME
        SELECT
            'corruption error' AS experiment, model, dataset, 'mCE' AS condition, '%' AS unit,
            mce / 100 AS measured, published, source
        FROM mce
        JOIN published_here USING (dataset, model)
        WHERE experiment = 'imagenet_c_mce' AND mce IS NOT NULL AND normaliser = 'AlexNet, published'
        UNION ALL BY NAME
        SELECT
            'shape bias' AS experiment, model, dataset, 'all categories, pooled' AS condition, '%' AS unit,
            shape_bias AS measured, low, high, published, source
        FROM shape_bias
        JOIN published_here USING (dataset, model)
        WHERE metric = 'shape_bias' AND part IS NULL AND shape_bias IS NOT NULL
        UNION ALL BY NAME
        SELECT
            'shape bias' AS experiment, model, dataset, class_name AS condition, '%' AS unit,
            shape_bias AS measured, low, high, published, source
        FROM shape_bias_by_class
        JOIN published_here USING (dataset, model)
        WHERE metric = 'shape_bias' AND part = class_name AND shape_bias IS NOT NULL
        UNION ALL BY NAME
        SELECT
            'information loss' AS experiment, model, dataset, format('level {:g}', level) AS condition,
            level AS sorted, '' AS unit, correlation AS measured, low, high, published, source
        FROM features_left
        JOIN published_here USING (dataset, model, level)
        WHERE kind = 'image' AND experiment = 'feature_correlation'
        UNION ALL BY NAME
        SELECT
            'information loss' AS experiment, model, dataset, format('{}, level {:g}', part, level) AS condition,
            '' AS unit, correlation AS measured, low, high, published, source
        FROM features_left_by_group
        JOIN published_here USING (dataset, model, level)
        WHERE experiment = 'feature_correlation_superclass' AND part = class_group
        UNION ALL BY NAME
        SELECT
            'segmentation' AS experiment, model, dataset, format('{} token, {}', s.token, way) AS condition,
            '%' AS unit, jaccard AS measured, low, high, published, source
        FROM segmentation_scores AS s
        JOIN published_here AS p USING (dataset, model, token)
        WHERE step = 1 AND experiment = 'voc12_segmentation'
        UNION ALL BY NAME
        SELECT
            'token similarity' AS experiment, model, dataset, 'last block' AS condition, '' AS unit,
            measured, low, high, published, source
        FROM last_cosines
        JOIN published_here USING (dataset, model)
        WHERE experiment = 'token_cosine_similarity'
        UNION ALL BY NAME
        SELECT
            'block accuracy' AS experiment, model, dataset, format('block {}', block) AS condition,
            block AS sorted, '%' AS unit, top1 AS measured, low, high, published, source
        FROM accuracy_by_block
        JOIN published_here USING (dataset, model)
        WHERE experiment = 'blockwise_cls_token' AND level = block
        UNION ALL BY NAME
        SELECT
            'transfer' AS experiment, s.model, s.dataset, s.readout AS condition, '%' AS unit,
            s.top1 AS measured, low, high, p.top1 AS published, p.source
        FROM transfer_scores AS s
        JOIN published_as AS m ON m.kind = 'model' AND m.name = s.model
        JOIN transfer_published AS p ON p.model = m.published AND p.dataset = s.dataset AND p.readout = s.readout
        WHERE protocol = 'validated' AND s.blocks <> 'block'
    )
SELECT
    replace(experiment, '_', ' ') AS experiment, model, dataset, condition, unit,
    measured, low, high, published, measured - published AS difference, source
FROM compared
ORDER BY experiment, model, dataset, sorted, condition, source;
