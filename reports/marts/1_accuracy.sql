-- The parquet files stay the only copy of predictions, indexes and what measures found: views read them. The rest are
-- tables, and what figures read. Given are predictions and images, a view of the name of each measure, the tables that
-- reports/glossary.csv explains first, and the variable `reference`, the model that the others are compared with.

-- Of which of the datasets each model that was trained here has learnt, and whether these were stylized.
CREATE TABLE trainings AS
SELECT t.*, dataset IS NOT NULL AS stylized, content, stylizer
FROM models_trained AS t
LEFT JOIN stylized ON dataset = data
ORDER BY model;

-- 95 % Wilson interval of a share p of n images.
CREATE MACRO wilson(p, n, side) AS (
    (p + 3.841458820694124::DOUBLE / (2 * n)
        + side * 1.959963984540054::DOUBLE * sqrt(p * (1 - p) / n + 3.841458820694124::DOUBLE / (4.0 * n * n)))
    / (1 + 3.841458820694124::DOUBLE / n)
);
CREATE MACRO wilson_low(p, n) AS greatest(0, wilson(p, n, -1));
CREATE MACRO wilson_high(p, n) AS least(1, wilson(p, n, 1));

-- Half of the 95 % interval of the mean of a column, by the normal approximation; one value alone tells nothing. And
-- the ends of the interval where the values are shares.
CREATE MACRO mean_margin(x) AS
    1.959963984540054::DOUBLE * coalesce(stddev_samp(x), 'infinity'::DOUBLE) / sqrt(count(x));
CREATE MACRO share_low(x) AS greatest(0, avg(x) - mean_margin(x));
CREATE MACRO share_high(x) AS least(1, avg(x) + mean_margin(x));

-- A variant in words: '8x8 grid, mean', 'zero, 50 %', 'gaussian noise'; nothing where there is but one. Those of
-- adversarial patches are names of models.
CREATE MACRO in_words(perturbation, variant) AS CASE
    WHEN variant = 'plain' THEN NULL
    WHEN perturbation LIKE 'adversarial_patch%' THEN variant
    WHEN variant SIMILAR TO '(\d+x\d+|zero|mask)(_.*)?' THEN regexp_replace(
        replace(regexp_replace(variant, '(\d+x\d+)', '\1 grid'), '_', ', '), '(, \d+)$', '\1 %'
    )
    ELSE replace(variant, '_', ' ')
END;

-- Whether two models can be compared under a perturbation: not if a patch was crafted on one of them, or lies
-- elsewhere for each.
CREATE MACRO comparable(perturbation, variant, model, other) AS
    perturbation <> 'adversarial_patch_aligned'
    AND NOT (perturbation = 'adversarial_patch' AND variant IN (model, other));

-- 95 % interval of a mean difference of paired shares over n images, from the sum and the sum of squares of the
-- differences: the adjusted Wald interval of Bonett and Price (Journal of Educational and Behavioral
-- Statistics, 2012), which has a width even where no image tells the two apart.
CREATE MACRO paired(total, squares, n, side) AS (
    total / (n + 2)
        + side * 1.959963984540054::DOUBLE * sqrt(((squares + 2) / (n + 2) - (total / (n + 2)) ** 2) / (n + 2))
);

-- What there is to see. Chance is what always naming the most frequent class would score: 1 / classes if all
-- are equally frequent.
CREATE TABLE datasets AS
WITH
    labels AS (SELECT dataset, label, count(*) AS images FROM images WHERE image IS NOT NULL GROUP BY ALL)
SELECT
    dataset,
    sum(images)::BIGINT AS images,
    count(*) AS classes,
    max(images) / sum(images) AS chance
FROM labels
GROUP BY dataset
ORDER BY dataset;

-- Where the classes are synsets of WordNet, by their ids, and where they are ImageNet's: there, numbers that others
-- have published can be compared.
CREATE TABLE vocabularies AS
SELECT
    dataset,
    bool_and(regexp_full_match(class_name, 'n\d{8}')) AS of_wordnet,
    of_wordnet AND any_value(outputs) = 1000 AS of_imagenet
FROM images
JOIN outputs USING (dataset)
GROUP BY dataset;

-- Files that were left out, and why.
CREATE TABLE skipped AS
SELECT dataset, path, problem FROM images WHERE image IS NULL ORDER BY ALL;

-- What can be wrong with a prediction by itself; the checks tell each in words.
CREATE MACRO is_incomplete(level, seed, image, label, pred, rank, prob, confidence, lost) AS
    (level + seed + image + label + pred + rank + prob + confidence + lost) IS NULL;
CREATE MACRO is_misranked(rank, pred, label) AS (rank = 0) <> (pred = label) OR rank < 0;
CREATE MACRO is_improbable(prob, confidence) AS
    prob NOT BETWEEN 0 AND 1
    OR confidence NOT BETWEEN 0 AND 1
    OR prob > confidence + 1e-3; -- float16 has three digits
CREATE MACRO is_no_share(lost, tokens_lost, tokens_cut) AS
    lost NOT BETWEEN 0 AND 1 OR tokens_lost + tokens_cut NOT BETWEEN 0 AND 1 + 1e-3; -- float16
CREATE MACRO all_lost(lost, tokens_lost, tokens_cut) AS lost + coalesce(tokens_lost + tokens_cut, 0);

-- All that is needed of the predictions, in one pass over them. For each cell: its accuracy; which images it is right
-- about, a bit for each; and whether a check will have something to find.
SET VARIABLE last_image = (SELECT coalesce(max(image)::INT, 0) FROM images);

CREATE TEMP TABLE decided AS
SELECT
    dataset, model, perturbation, variant, level, seed,
    avg((rank = 0)::INT) AS top1,
    avg((rank < 5)::INT) AS top5,
    avg(lost) AS lost,
    avg(tokens_lost) AS tokens_lost,
    avg(tokens_cut) AS tokens_cut,
    count(*) AS decisions,
    bit_count(bitstring_agg(image::INT, 0, getvariable('last_image')) FILTER (
        image BETWEEN 0 AND getvariable('last_image')
    )) AS images,
    bitstring_agg(image::INT, 0, getvariable('last_image')) FILTER (
        rank = 0 AND image BETWEEN 0 AND getvariable('last_image')
    ) AS hits,
    sum(hash(image::INT, label::INT)) AS labelled, -- tells whether others have the same images and labels
    max(all_lost(lost, tokens_lost, tokens_cut)) AS most_lost,
    count(*) FILTER (
        is_incomplete(level, seed, image, label, pred, rank, prob, confidence, lost)
        OR is_misranked(rank, pred, label)
        OR is_improbable(prob, confidence)
        OR is_no_share(lost, tokens_lost, tokens_cut)
    ) AS odd
FROM predictions
GROUP BY ALL;

-- Accuracy of every cell.
CREATE TABLE cells AS
SELECT * EXCLUDE (hits, labelled, most_lost, odd) FROM decided ORDER BY ALL;

-- The strips that the checks have to read again, image by image; none, if all is well.
CREATE TEMP TABLE doubtful AS
WITH
    labels AS (
        SELECT dataset, sum(hash(image::INT, label::INT)) AS labelled FROM images WHERE image IS NOT NULL GROUP BY dataset
    )
SELECT DISTINCT dataset, model, perturbation, variant
FROM decided
LEFT JOIN labels USING (dataset)
LEFT JOIN asked USING (dataset, model, perturbation, variant, level, seed)
WHERE odd > 0 OR decided.labelled IS DISTINCT FROM labels.labelled OR (clean AND most_lost <> 0);

-- How many images two cells, each a bit for each image, are both right about: a mean over pairs of cells.
CREATE MACRO shared(hits, others) AS avg(coalesce(bit_count(hits & others), 0));

-- How a model agrees with itself and with the reference, under each level and, where level is null, over all levels
-- but the clean one. The share of right decisions of each image is a mean over cells, so the sum over images of
-- the product of two such shares is a mean over pairs of cells: of the number of images that both are right about.
CREATE TEMP TABLE agreements AS
WITH
    parts AS (
        FROM decided
        UNION ALL
        SELECT * REPLACE (NULL AS level)
        FROM decided
        SEMI JOIN (FROM asked WHERE NOT clean) USING (dataset, model, perturbation, variant, level, seed)
    )
SELECT
    a.dataset, a.perturbation, a.variant, a.level, a.model, b.model AS other,
    shared(a.hits, a.hits) AS hits,
    shared(b.hits, b.hits) AS other_hits,
    shared(a.hits, b.hits) AS products,
    max(a.images) AS images,
    count(*) AS pairs
FROM parts AS a
JOIN parts AS b
    ON a.dataset = b.dataset AND a.perturbation = b.perturbation AND a.variant = b.variant
    AND a.level IS NOT DISTINCT FROM b.level
WHERE b.model IN (a.model, getvariable('reference'))
GROUP BY ALL;

-- What the models decide differently from the reference: on the very same images, perturbed by the very same
-- random numbers. The shares of right decisions are compared image by image.
CREATE TABLE differences AS
WITH
    own AS (FROM agreements WHERE model = other),
    both_models AS (
        SELECT
            a.* EXCLUDE (products, pairs, hits, other_hits),
            a.hits - a.other_hits AS total,
            own.products + other.products - 2 * a.products AS squares
        FROM agreements AS a
        JOIN own
            ON own.dataset = a.dataset AND own.perturbation = a.perturbation AND own.variant = a.variant
            AND own.level IS NOT DISTINCT FROM a.level AND own.model = a.model
        JOIN own AS other
            ON other.dataset = a.dataset AND other.perturbation = a.perturbation AND other.variant = a.variant
            AND other.level IS NOT DISTINCT FROM a.level AND other.model = a.other
        WHERE
            a.model <> a.other AND comparable(a.perturbation, a.variant, a.model, a.other)
            AND own.pairs = a.pairs AND other.pairs = a.pairs -- as many levels, some of which a model may refuse
    )
SELECT
    dataset, model, perturbation, variant, level, images,
    total / images AS difference,
    greatest(-1, paired(total, squares, images, -1)) AS difference_low,
    least(1, paired(total, squares, images, 1)) AS difference_high
FROM both_models;

-- Top-1 of every level of every strip. Images are what was sampled, so intervals are over images; seeds
-- only average, and their spread stands apart.
CREATE TABLE measured AS
WITH
    levels AS (
        SELECT
            dataset, model, perturbation, variant, level,
            avg(top1) AS top1,
            avg(top5) AS top5,
            stddev_samp(top1) AS seed_spread,
            avg(lost) AS lost,
            avg(tokens_lost) AS tokens_lost,
            avg(tokens_cut) AS tokens_cut,
            max(images) AS images,
            count(*) AS seeds
        FROM cells
        GROUP BY ALL
    ),
    strips AS (SELECT DISTINCT * EXCLUDE (seed) FROM asked),
    names AS (SELECT family, count(DISTINCT perturbation) AS perturbations FROM asked GROUP BY family),
    in_paper AS (SELECT dataset, model, perturbation, variant, level::FLOAT AS level, published FROM published_here)
SELECT
    dataset, model, model_family, family, perturbation, variant,
    round(level::DOUBLE, 6) AS level,
    clean, top1,
    wilson_low(top1, levels.images) AS low,
    wilson_high(top1, levels.images) AS high,
    top5, seed_spread,
    top1 / nullif(max(top1) FILTER (clean) OVER strip, 0) AS relative,
    lost, tokens_lost, tokens_cut, levels.images, seeds, chance,
    difference, difference_low, difference_high,
    published,
    -- The title of a panel: 'shapes · 8x8 grid', with the perturbation if its family has several.
    concat_ws(
        ' · ',
        dataset,
        CASE WHEN perturbations > 1 THEN replace(perturbation, '_', ' ') END,
        in_words(perturbation, variant)
    ) AS panel,
    -- The place of a model among all of the run, so that its colour is the same in every figure.
    dense_rank() OVER (ORDER BY model_family, model) - 1 AS place
FROM levels
JOIN strips USING (dataset, model, perturbation, variant, level)
JOIN names USING (family)
JOIN datasets USING (dataset)
LEFT JOIN differences USING (dataset, model, perturbation, variant, level)
LEFT JOIN in_paper USING (dataset, model, perturbation, variant, level)
WINDOW strip AS (PARTITION BY dataset, model, perturbation, variant)
ORDER BY dataset, model, perturbation, variant, level;

-- The place of every model, so that its colour is the same in every figure; those that were not evaluated come
-- after those that were.
CREATE TABLE places AS
WITH
    evaluated AS (SELECT DISTINCT model, place FROM measured),
    others AS (SELECT model FROM trainings UNION SELECT model FROM foreground
        UNION SELECT model FROM measures
        EXCEPT SELECT model FROM evaluated)
FROM evaluated
UNION ALL
SELECT model, (SELECT coalesce(max(place), -1) FROM evaluated) + row_number() OVER (ORDER BY model)
FROM others;

-- What curves are drawn of. A strip of the clean level alone has none: it has no other, or all others were
-- refused for the model.
CREATE TABLE accuracy AS
FROM measured
QUALIFY count(*) OVER (PARTITION BY dataset, model, perturbation, variant) > 1
ORDER BY dataset, model, perturbation, variant, level;

-- What the models know before anything is taken away; each of their strips has it.
CREATE TABLE models AS
SELECT
    model, model_family, dataset,
    any_value(top1) AS top1,
    any_value(low) AS low,
    any_value(high) AS high,
    any_value(images) AS images,
    any_value(chance) AS chance,
    CASE
        WHEN any_value(low) > any_value(chance) THEN 'above'
        WHEN any_value(high) < any_value(chance) THEN 'below'
        ELSE 'not told apart'
    END AS against_chance,
    (dataset, model) IN (SELECT (dataset, model) FROM accuracy) AS perturbed
FROM measured
WHERE clean
GROUP BY model, model_family, dataset
ORDER BY dataset, model_family, model;

-- The same differences, averaged over all levels of a strip but the clean one.
CREATE TABLE comparisons AS
WITH
    looks AS (SELECT DISTINCT dataset, model, perturbation, variant, model_family, family, place FROM accuracy)
SELECT
    dataset, model, model_family, family, perturbation, variant, getvariable('reference') AS reference, place,
    concat_ws(' · ', dataset, replace(perturbation, '_', ' '), in_words(perturbation, variant)) AS panel,
    difference, difference_low AS low, difference_high AS high, images
FROM differences
JOIN looks USING (dataset, model, perturbation, variant)
WHERE level IS NULL
ORDER BY ALL;

-- What a patch does to the model that it was crafted on (white box) and to others (transfer), and what noise of
-- its size does; `fall` is in points of accuracy, against the untouched images.
CREATE TABLE patch_transfer AS
SELECT
    dataset, perturbation,
    CASE WHEN perturbation LIKE '%\_aligned' ESCAPE '\' THEN 'aligned to tokens' ELSE 'any place' END AS lies,
    CASE perturbation WHEN 'noise_patch' THEN '(noise)' ELSE variant END AS crafted_on,
    model,
    variant = model AS white_box,
    level, clean, top1, low, high, seed_spread,
    100 * (any_value(top1) FILTER (clean) OVER strip - top1) AS fall,
    images, seeds, chance, model_family, place
FROM accuracy
WHERE family = 'patch'
WINDOW strip AS (PARTITION BY dataset, model, perturbation, variant)
ORDER BY dataset, perturbation, crafted_on, model, level;
