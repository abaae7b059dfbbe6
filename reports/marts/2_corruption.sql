-- The corruptions of ImageNet-C, in its order; it has four more, which mCE leaves out.
CREATE TABLE imagenet_c AS
SELECT unnest(names) AS corruption, generate_subscripts(names, 1) AS rank, rank <= 15 AS common
FROM (SELECT [
    'gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur',
    'snow', 'frost', 'fog', 'brightness', 'contrast', 'elastic_transform', 'pixelate', 'jpeg_compression',
    'speckle_noise', 'gaussian_blur', 'spatter', 'saturate'
] AS names);

-- The error under every corruption, as a mean over its severities (and over seeds, which only average), and
-- its 95 % interval over images. CE is that error in percent of the normaliser's under the same; relative CE
-- takes the error on untouched images from both first. On classes of ImageNet the normaliser is AlexNet as
-- published, which needs severities 1 to 5; on others the reference, or the first model by name.
CREATE TABLE corruptions AS
WITH
    errors AS (
        SELECT
            dataset, model, variant AS corruption,
            (images - hits) / images AS error,
            1.959963984540054 * coalesce(
                sqrt(greatest(0, products - hits ** 2 / images) / nullif(images - 1, 0)), 0
            ) / sqrt(images) AS margin
        FROM agreements
        WHERE perturbation = 'corrupt' AND model = other AND level IS NULL
    ),
    strips AS (
        SELECT
            dataset, model, variant AS corruption,
            any_value(model_family) AS model_family,
            any_value(place) AS place,
            any_value(images) AS images,
            max(seeds) AS seeds,
            1 - any_value(top1) FILTER (clean) AS clean_error,
            list(level::INT ORDER BY level) FILTER (NOT clean) AS severities
        FROM accuracy
        WHERE perturbation = 'corrupt'
        GROUP BY ALL
    ),
    measured AS (FROM errors JOIN strips USING (dataset, model, corruption)),
    first AS (
        SELECT dataset, coalesce(any_value(model) FILTER (model = getvariable('reference')), min(model)) AS model
        FROM measured
        GROUP BY dataset
    ),
    alexnet AS (
        SELECT condition, value::DOUBLE AS error
        FROM published
        WHERE experiment = 'imagenet_c_alexnet_normaliser'
    ),
    normalisers AS (
        SELECT
            dataset, corruption, 'AlexNet, published' AS normaliser, [1, 2, 3, 4, 5] AS severities,
            alexnet.error, untouched.error AS clean_error
        FROM vocabularies
        JOIN alexnet ON condition LIKE 'corruption=%'
        JOIN alexnet AS untouched ON untouched.condition = 'untouched images'
        JOIN imagenet_c ON corruption = regexp_extract(alexnet.condition, 'corruption=(\w+)', 1)
        WHERE of_imagenet
        UNION ALL
        SELECT dataset, corruption, model || ', of this run', severities, error, clean_error
        FROM measured
        SEMI JOIN first USING (dataset, model)
        JOIN vocabularies USING (dataset)
        WHERE NOT of_imagenet
    )
SELECT
    m.dataset, m.model, model_family, place, m.corruption, c.rank, common,
    len(m.severities) AS severities,
    m.severities = [1, 2, 3, 4, 5] AS whole,
    m.error,
    greatest(0, m.error - margin) AS low,
    least(1, m.error + margin) AS high,
    m.clean_error,
    100 * m.error / nullif(n.error, 0) AS ce,
    100 * (m.error - m.clean_error) / nullif(n.error - n.clean_error, 0) AS relative_ce,
    normaliser, images, seeds
FROM measured AS m
JOIN imagenet_c AS c USING (corruption)
LEFT JOIN normalisers AS n USING (dataset, corruption, severities)
ORDER BY dataset, place, c.rank;

-- The mean over the 15 common corruptions. It is mCE only if all of them have a CE over severities 1 to 5;
-- otherwise it is the mean of as many as `corruptions` says.
CREATE TABLE mce AS
SELECT
    dataset, model, model_family, place,
    any_value(normaliser) AS normaliser,
    count(ce) AS corruptions,
    avg(error) AS mean_error,
    avg(ce) AS mean_ce,
    avg(relative_ce) AS mean_relative_ce,
    CASE WHEN count(ce) FILTER (whole) = 15 THEN avg(ce) END AS mce,
    CASE WHEN count(relative_ce) FILTER (whole) = 15 THEN avg(relative_ce) END AS relative_mce,
    any_value(images) AS images,
    max(seeds) AS seeds
FROM corruptions
WHERE common
GROUP BY ALL
ORDER BY dataset, place;
