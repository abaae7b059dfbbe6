-- How much of the features is left when patches are dropped: by image, beside other images, by dimension, by CKA. Means are over images
-- (or dimensions) of the means over seeds; an image or a dimension whose features do not vary has no correlation,
-- and is `constant`. Images are what was sampled, so the interval is over them. The deviation is that over images
-- (or dimensions) under one seed, a mean over the seeds; where all images have one number, it is that over the seeds.
CREATE TABLE features_left AS
WITH
    of_seeds AS (
        SELECT dataset, model, kind, level, seed, avg(value) AS correlation, stddev_samp(value) AS deviation
        FROM information_loss
        GROUP BY ALL
    ),
    deviations AS (
        SELECT
            dataset, model, kind, level,
            CASE WHEN kind IN ('image', 'dimension') THEN avg(deviation) ELSE stddev_samp(correlation) END AS deviation,
            count(*) AS seeds
        FROM of_seeds
        GROUP BY dataset, model, kind, level
    ),
    of_indexes AS (
        SELECT dataset, model, kind, level, index, avg(value) AS correlation FROM information_loss GROUP BY ALL
    ),
    means AS (
        SELECT
            dataset, model, kind, level,
            avg(correlation) AS mean,
            count(*) - count(correlation) AS constant,
            CASE kind
                WHEN 'image' THEN 1.959963984540054 * stddev_samp(correlation) / sqrt(count(correlation))
            END AS margin
        FROM of_indexes
        GROUP BY dataset, model, kind, level
    ),
    seen AS (
        SELECT dataset, model, count(DISTINCT index) AS images
        FROM information_loss
        WHERE kind = 'image'
        GROUP BY ALL
    )
SELECT
    dataset, model, place, kind,
    round(level::DOUBLE, 6) AS level,
    mean AS correlation,
    CASE WHEN margin IS NOT NULL THEN greatest(-1, mean - margin) END AS low,
    CASE WHEN margin IS NOT NULL THEN least(1, mean + margin) END AS high,
    deviation, constant, images, seeds
FROM means
JOIN deviations USING (dataset, model, kind, level)
JOIN seen USING (dataset, model)
JOIN places USING (model)
ORDER BY dataset, place, kind, level;

-- Classes of ImageNet-1k in twelve superclasses, those of the paper's figure 5.
CREATE TABLE superclasses AS FROM read_csv(getvariable('superclasses'), all_varchar = true, comment = '#');

-- The correlation of images by groups: of classes that are synsets of WordNet the superclasses (other classes are in
-- no group), of any others each by itself. A mean over the classes of their own means, so that no class counts more
-- for having more images. The interval is over the images of each class, so there is none where a class has but one.
CREATE TABLE features_left_by_group AS
WITH
    of_images AS (
        SELECT dataset, model, level, index AS image, avg(value) AS correlation, count(DISTINCT seed) AS seeds
        FROM information_loss
        WHERE kind = 'image'
        GROUP BY ALL
    ),
    members AS (
        SELECT dataset, image, class_name, CASE WHEN of_wordnet THEN superclass ELSE class_name END AS class_group
        FROM images
        JOIN vocabularies USING (dataset)
        LEFT JOIN superclasses ON wnid = class_name
        WHERE image IS NOT NULL AND (superclass IS NOT NULL OR NOT of_wordnet)
    ),
    of_classes AS (
        SELECT
            dataset, model, level, class_group, class_name,
            avg(correlation) AS mean,
            var_samp(correlation) / count(correlation) AS variance,
            count(correlation) AS images,
            max(seeds) AS seeds
        FROM of_images
        JOIN members USING (dataset, image)
        GROUP BY ALL
        HAVING count(correlation) > 0
    ),
    of_groups AS (
        SELECT
            dataset, model, level, class_group,
            avg(mean) AS correlation,
            CASE WHEN count(variance) = count(*) THEN 1.959963984540054 * sqrt(sum(variance)) / count(*) END AS margin,
            count(*) AS classes,
            sum(images)::BIGINT AS images,
            max(seeds) AS seeds
        FROM of_classes
        GROUP BY ALL
    )
SELECT
    dataset, model, place,
    round(level::DOUBLE, 6) AS level,
    class_group, correlation,
    CASE WHEN margin IS NOT NULL THEN greatest(-1, correlation - margin) END AS low,
    CASE WHEN margin IS NOT NULL THEN least(1, correlation + margin) END AS high,
    classes, images, seeds
FROM of_groups
JOIN places USING (model)
ORDER BY dataset, place, level, class_group;
