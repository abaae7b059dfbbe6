-- Claims about images that are perturbed: dropped, moved, shuffled, corrupted, attacked.

-- A ViT beside a CNN, or a network beside itself trained on stylized images, under the very same perturbation. Tiles
-- are black, in a grid that leaves tokens whole, or one that does not.
INSERT INTO contrasts BY NAME
WITH
    asked_claims (claim, stylized_claim, perturbation, level, variants, whole_tokens) AS (
        VALUES
            ('patch_drop', NULL, 'random_drop', 0.5, '\d+x\d+', true),
            ('hierarchical', NULL, 'random_drop', 0.5, '\d+x\d+', NULL),
            ('stylized_drop', NULL, 'random_drop', 0.5, '\d+x\d+', true),
            ('salient_drop', NULL, 'salient_drop', 0.5, '.*', NULL),
            ('nonsalient_drop', NULL, 'nonsalient_drop', 0.5, '.*', NULL),
            ('off_grid_cnn', NULL, 'offset_drop', 0.5, '\d+x\d+', false),
            ('pixel_drop', NULL, 'pixel_drop', 0.1, '.*', NULL),
            ('lesion', NULL, 'feature_drop', 1, 'zero_50', NULL),
            ('placement', NULL, 'placement', NULL, '.*', NULL),
            ('permutation', NULL, 'shuffle_grid', 16, '.*', NULL),
            ('corruption', 'corruption_stylized', 'corrupt', NULL, '.*', NULL),
            ('attacks', 'attacks_stylized', 'fgsm', NULL, '.*', NULL),
            ('attacks', 'attacks_stylized', 'pgd', NULL, '.*', NULL)
    ),
    compared AS (
        SELECT claim, perturbation, level, variants, whole_tokens, model, other
        FROM asked_claims
        JOIN pairs ON model_family = if(claim = 'hierarchical', 'swin', 'vit')
        WHERE claim <> 'stylized_drop'
        UNION ALL
        SELECT claim, perturbation, level, variants, whole_tokens, v.stylized_model, c.stylized_model
        FROM asked_claims
        JOIN twins AS v ON v.model_family = 'vit'
        JOIN twins AS c ON c.model_family = 'cnn'
        WHERE claim = 'stylized_drop'
        UNION ALL
        SELECT stylized_claim, perturbation, level, variants, whole_tokens, natural_model, stylized_model
        FROM asked_claims
        CROSS JOIN twins
        WHERE stylized_claim IS NOT NULL
    )
SELECT
    claim,
    concat_ws(
        ', ',
        format('{} against {} on {}', c.model, c.other, dataset),
        CASE WHEN claim LIKE 'attacks%' THEN perturbation END,
        in_words(perturbation, variant)
    ) AS about,
    dataset, c.model, perturbation, variant, own.level,
    c.other AS other_model, perturbation AS other_perturbation, variant AS other_variant, own.level AS other_level
FROM compared AS c
JOIN conditions AS own USING (model, perturbation)
JOIN conditions AS o USING (dataset, perturbation, variant)
WHERE
    o.model = c.other AND own.level IS NOT DISTINCT FROM c.level AND o.level IS NOT DISTINCT FROM c.level
    AND regexp_full_match(variant, variants)
    AND (whole_tokens IS NULL OR (coalesce(own.tokens_cut, 0) = 0) = whole_tokens);

-- One model under two perturbations.
INSERT INTO contrasts BY NAME
WITH
    blackened AS (
        FROM conditions
        WHERE perturbation IN ('random_drop', 'offset_drop') AND level = 0.5 AND regexp_full_match(variant, '\d+x\d+')
    ),
    lesions AS (
        SELECT dataset, model, variant, max(level) AS last_level
        FROM conditions
        WHERE model_family = 'cnn' AND perturbation = 'feature_drop' AND variant = 'zero_50'
        GROUP BY ALL
        HAVING last_level > 1
    )
SELECT
    'off_grid' AS claim,
    format('{} on {}, {}', model, dataset, in_words('random_drop', variant)) AS about,
    dataset, model, own.perturbation, variant, own.level,
    model AS other_model, o.perturbation AS other_perturbation, variant AS other_variant, o.level AS other_level
FROM blackened AS own
JOIN blackened AS o USING (dataset, model, variant)
WHERE
    own.model_family = 'vit' AND own.perturbation = 'random_drop' AND own.tokens_cut = 0
    AND o.perturbation = 'offset_drop'
UNION ALL BY NAME
SELECT
    'grid_factor' AS claim,
    format('{} on {}, {} against {}', model, dataset, own.variant, o.variant) AS about,
    dataset, model, own.perturbation, own.variant, own.level,
    model AS other_model, o.perturbation AS other_perturbation, o.variant AS other_variant, o.level AS other_level
FROM blackened AS own
JOIN blackened AS o USING (dataset, model, perturbation)
WHERE own.model_family = 'vit' AND perturbation = 'random_drop' AND own.tokens_cut = 0 AND o.tokens_cut > 0
UNION ALL BY NAME
SELECT
    'salient_matters' AS claim,
    format('{} on {}', model, dataset) AS about,
    dataset, model, own.perturbation, variant, own.level,
    model AS other_model, o.perturbation AS other_perturbation, variant AS other_variant, o.level AS other_level
FROM conditions AS own
JOIN conditions AS o USING (dataset, model, variant, level)
WHERE
    own.model_family IN ('vit', 'cnn') AND variant = 'area' AND level = 0.5
    AND own.perturbation = 'nonsalient_drop' AND o.perturbation = 'salient_drop'
UNION ALL BY NAME
SELECT
    'lesion_late' AS claim,
    format('{} on {}, stage {:.0f} against 1', model, dataset, last_level) AS about,
    dataset, model, 'feature_drop' AS perturbation, variant, last_level AS level,
    model AS other_model, 'feature_drop' AS other_perturbation, variant AS other_variant, 1 AS other_level
FROM lesions;

-- Without positions, whole tokens shuffled: in a 2x2 grid, which all tokens' grids with even sides can be cut into.
INSERT INTO contrasts BY NAME
SELECT
    'positions_invariant' AS claim,
    format('{} on {}', other, dataset) AS about,
    true AS changed,
    dataset, other AS model, perturbation, variant, shuffled.level,
    other AS other_model, perturbation AS other_perturbation, variant AS other_variant, whole.level AS other_level
FROM (SELECT DISTINCT other FROM counterparts WHERE differs = 'positions')
JOIN conditions AS whole ON whole.model = other
JOIN conditions AS shuffled USING (dataset, model, perturbation, variant)
WHERE perturbation = 'shuffle_grid' AND whole.clean AND shuffled.level = 4;

-- A ViT beside one without positions, or with larger patches, under the same shuffles.
INSERT INTO contrasts BY NAME
SELECT
    if(differs = 'patches', 'patch_size_shuffled', 'positions_shuffled') AS claim,
    format('{} against {} on {}', own.model, o.model, dataset) AS about,
    dataset, own.model, perturbation, variant, level,
    o.model AS other_model, perturbation AS other_perturbation, variant AS other_variant, level AS other_level
FROM (
    SELECT differs, 16 AS level, model, other FROM counterparts WHERE differs = 'patches'
    UNION ALL
    SELECT differs, 64, other, model FROM counterparts WHERE differs = 'positions'
) AS c
JOIN conditions AS own USING (model, level)
JOIN conditions AS o USING (dataset, perturbation, variant, level)
WHERE o.model = c.other AND perturbation = 'shuffle_grid';

-- Each under the patches that were crafted on it.
INSERT INTO contrasts BY NAME
SELECT
    claim,
    format('{} against {} on {}', own.model, o.model, dataset) AS about,
    dataset, own.model, perturbation, own.variant, level,
    o.model AS other_model, perturbation AS other_perturbation, o.variant AS other_variant, level AS other_level
FROM (
    SELECT 'adversarial_patch' AS claim, model, other FROM vits_and_cnns
    UNION ALL
    SELECT 'adversarial_patch_stylized', natural_model, stylized_model FROM twins
) AS c
JOIN conditions AS own USING (model)
JOIN conditions AS o USING (dataset, perturbation, level)
WHERE
    o.model = c.other AND perturbation = 'adversarial_patch' AND level = 0.05
    AND own.variant = own.model AND o.variant = o.model;

-- Untouched images.
INSERT INTO contrasts BY NAME
SELECT
    claim,
    format('{} against {} on {}', own.model, o.model, dataset) AS about,
    dataset, own.model, own.place.perturbation, own.place.variant, own.place.level,
    o.model AS other_model, o.place.perturbation AS other_perturbation, o.place.variant AS other_variant,
    o.place.level AS other_level
FROM (
    SELECT 'stylized_cost' AS claim, natural_model AS model, stylized_model AS other FROM twins
    UNION ALL
    SELECT 'shape_token_cost', class_model, shape_model FROM students
    UNION ALL
    SELECT if(differs = 'patches', 'patch_size', 'positions_cost'), model, other FROM counterparts
) AS c
JOIN untouched AS own USING (model)
JOIN untouched AS o USING (dataset)
SEMI JOIN natural_datasets USING (dataset)
WHERE o.model = c.other;

-- Of the ViT that is right about most untouched images.
INSERT INTO effects
WITH
    best AS (
        SELECT dataset, arg_max(model, (top1, model)) AS model
        FROM untouched
        JOIN known_models USING (model)
        WHERE model_family = 'vit'
        GROUP BY dataset
    )
SELECT
    'patch_drop_80' AS claim,
    format('{} on {}, {}', model, dataset, in_words(perturbation, variant)) AS about,
    100 * m.top1, 100 * low, 100 * high, images,
    format('{:.1f} % of untouched images', 100 * untouched.top1)
FROM measured AS m
SEMI JOIN best USING (dataset, model)
JOIN untouched USING (dataset, model)
WHERE
    perturbation = 'random_drop' AND level = 0.8 AND regexp_full_match(variant, '\d+x\d+') AND tokens_cut = 0;
