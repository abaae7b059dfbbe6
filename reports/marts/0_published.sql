-- Numbers that others have published, with where they stand. Some values are no numbers.
CREATE TABLE published AS FROM read_csv(getvariable('published'), all_varchar = true);

-- The network that a published number is of: the name that the config gives with `published`. Some tables tell in the
-- condition how it was trained.
CREATE MACRO network_of(experiment, model, condition) AS CASE
    WHEN condition LIKE 'training=random%' THEN model || ' untrained'
    WHEN condition LIKE 'training=SIN teacher%' THEN model || '-SIN distilled'
    WHEN condition LIKE 'training=SIN;%' THEN model || '-SIN'
    WHEN condition LIKE 'distilled=yes%' THEN model || ' distilled'
    WHEN model LIKE 'DeiT-T%no%pos%' THEN 'DeiT-T without positions'
    WHEN experiment = 'token_cosine_similarity' THEN regexp_replace(model, '( distilled)? \(.*\)', ' distilled')
    WHEN experiment LIKE 'off_the_shelf%' THEN regexp_replace(model, ' \(.*', '')
    ELSE model
END;

-- Where a number stands in the paper.
CREATE MACRO place_in_paper(experiment, model) AS CASE
    WHEN experiment IN ('random_patchdrop', 'salient_patchdrop', 'nonsalient_patchdrop') THEN 'figure 3'
    WHEN experiment = 'random_patchdrop_offset' THEN 'figure 19'
    WHEN experiment = 'random_pixeldrop' THEN 'figure 21'
    WHEN experiment = 'feature_drop_lesion' THEN if(model = 'ResNet50', 'table 7', 'table 6')
    WHEN experiment = 'dynamic_receptive_field_placement' THEN 'table 8'
    WHEN experiment = 'shape_distillation' THEN 'table 3'
    WHEN experiment LIKE 'shape_bias%' THEN 'figure 6'
    WHEN experiment = 'shuffle' THEN 'figure 10'
    WHEN experiment = 'position_and_patch_size' THEN 'the authors'' repository'
    WHEN experiment = 'feature_correlation' THEN 'table 1'
    WHEN experiment = 'feature_correlation_superclass' THEN 'figure 5'
    WHEN experiment = 'voc12_segmentation' THEN 'table 4'
    WHEN experiment = 'token_cosine_similarity' THEN 'section 3.2'
    WHEN experiment = 'blockwise_cls_token' THEN 'figure 15'
    WHEN experiment = 'imagenet_c_mce' THEN 'table 4 (mCE)'
    WHEN experiment = 'off_the_shelf_ablation' THEN 'table 5'
    WHEN experiment = 'off_the_shelf_classification' THEN 'figure 16'
END;

-- A published number for each model and dataset of the run that the config says to be the paper's. Accuracies, errors
-- and Jaccard indices are published in percent and are shares here; biases and correlations are as published. What a
-- number is of is told by the perturbation, variant and level of a strip, or by the token and the part (a class or a
-- group of classes). `head` is that of a distilled network; the model has to have it, too.
CREATE TABLE published_here AS
WITH
    numbers AS (
        SELECT
            experiment, condition,
            network_of(experiment, model, condition) AS network,
            if(dataset = 'ImageNet-C', 'ImageNet-val', dataset) AS name,
            CASE experiment
                WHEN 'random_patchdrop' THEN 'random_drop'
                WHEN 'random_patchdrop_offset' THEN 'offset_drop'
                WHEN 'random_pixeldrop' THEN 'pixel_drop'
                WHEN 'salient_patchdrop' THEN 'salient_drop'
                WHEN 'nonsalient_patchdrop' THEN 'nonsalient_drop'
                WHEN 'feature_drop_lesion' THEN 'feature_drop'
                WHEN 'dynamic_receptive_field_placement' THEN 'placement'
                WHEN 'shuffle' THEN 'shuffle_grid'
            END AS perturbation,
            CASE
                WHEN experiment IN ('random_patchdrop', 'random_patchdrop_offset') THEN '14x14'
                WHEN experiment IN ('salient_patchdrop', 'nonsalient_patchdrop') THEN 'mass'
                WHEN experiment = 'feature_drop_lesion' THEN 'zero_' || regexp_extract(condition, 'drop=(\d+)%', 1)
                ELSE 'plain'
            END AS variant,
            round(CASE
                WHEN experiment IN ('feature_drop_lesion', 'blockwise_cls_token')
                THEN regexp_extract(condition, '^(?:block|layer)=(\d+)', 1)::DOUBLE
                WHEN experiment = 'dynamic_receptive_field_placement'
                THEN list_position(
                    ['top-right', 'top-left', 'bottom-right', 'bottom-left'], regexp_extract(condition, 'position=(.+)', 1)
                )
                -- Grid 0 of the authors' scripts is the image as it is, in one piece.
                WHEN experiment = 'shuffle'
                THEN greatest(1, regexp_extract(condition, 'grid=(\d+)', 1)::DOUBLE)
                ELSE nullif(regexp_extract(condition, '(?:IL|Q|drop|lowest)[= ](\d+)%', 1), '')::DOUBLE / 100
            END, 6) AS level,
            replace(nullif(regexp_extract(condition, 'token=(\w+)', 1), ''), 'cls', 'class') AS token,
            nullif(regexp_extract(condition, '(?:superclass|category)=(\w+)', 1), '') AS part,
            metric,
            value::DOUBLE / if(metric IN ('top1', 'jaccard', 'mCE'), 100, 1) AS published,
            place_in_paper(experiment, model) AS place,
            p.source = 'figure-read' AS is_read_off,
            confidence::DOUBLE AS confidence
        FROM published AS p
        WHERE
            place IS NOT NULL AND metric IN ('top1', 'jaccard', 'mCE', 'shape_bias', 'pearson_mean', 'cosine')
            AND experiment <> 'shape_bias_raw_geirhos' AND condition NOT LIKE '%leaderboard%'
    )
SELECT
    experiment, m.name AS model, d.name AS dataset, network, m.head,
    perturbation, if(perturbation IS NULL, NULL, variant) AS variant, level, token, part, metric,
    numbers.published,
    concat(place, if(is_read_off, ', read off', ''), ' (confidence ', confidence, ')') AS source,
    confidence
FROM numbers
JOIN published_as AS m ON m.kind = 'model' AND m.published = network
JOIN published_as AS d ON d.kind = 'dataset' AND d.published = numbers.name
WHERE
    (experiment <> 'shape_distillation' OR network NOT LIKE '% distilled' OR m.head = token)
    -- Which patches are salient is decided by one head of one network.
    AND (
        perturbation IS NULL OR perturbation NOT IN ('salient_drop', 'nonsalient_drop')
        OR EXISTS (
            FROM saliency AS s
            JOIN published_as AS by_whom ON by_whom.kind = 'model' AND by_whom.name = s.model
            WHERE by_whom.published = 'DINO ViT-S/16' AND s.head = '1' AND s.grid = '14x14'
        )
    )
ORDER BY ALL;
