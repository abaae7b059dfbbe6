-- The parquet files stay the only copy of predictions and indexes: two views read the lists of files in the
-- variables of their names (no glob, so no stale file joins in). The rest are tables, and what figures read.
-- Given: asked (dataset, model, perturbation, variant, family, model_family, level, seed, clean), a row for
-- each cell that the config asks for; clean is true for the first level of a strip, which changes nothing.
-- And outputs (dataset, outputs), how many classes a model of it tells apart; stylized (dataset, content,
-- stylizer), which datasets were made of which; trainings, of the models that were trained here, and epochs, how
-- their runs went; and the variable `reference`, the model that the others are compared with.

CREATE VIEW predictions AS
SELECT
    split_part(filename, '/', -4) AS dataset,
    split_part(filename, '/', -3) AS model,
    split_part(filename, '/', -2) AS perturbation,
    regexp_extract(filename, '([^/]+)\.parquet$', 1) AS variant,
    * EXCLUDE (filename)
FROM read_parquet(getvariable('predictions'), filename = true);

CREATE VIEW images AS
SELECT regexp_extract(filename, '([^/]+)\.parquet$', 1) AS dataset, * EXCLUDE (filename)
FROM read_parquet(getvariable('indexes'), filename = true, union_by_name = true)
-- Few datasets tell what the texture of an image stands for; the column is there for all.
UNION ALL BY NAME SELECT NULL::VARCHAR AS texture_class WHERE false;

-- 95 % Wilson interval of a share p of n images.
CREATE MACRO wilson(p, n, side) AS (
    (p + 3.841458820694124::DOUBLE / (2 * n)
        + side * 1.959963984540054::DOUBLE * sqrt(p * (1 - p) / n + 3.841458820694124::DOUBLE / (4.0 * n * n)))
    / (1 + 3.841458820694124::DOUBLE / n)
);
CREATE MACRO wilson_low(p, n) AS greatest(0, wilson(p, n, -1));
CREATE MACRO wilson_high(p, n) AS least(1, wilson(p, n, 1));

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

-- Files that were left out, and why.
CREATE TABLE skipped AS
SELECT dataset, path, problem FROM images WHERE image IS NULL ORDER BY ALL;

-- Accuracy of every cell.
CREATE TABLE cells AS
SELECT
    dataset, model, perturbation, variant, level, seed,
    avg((rank = 0)::INT) AS top1,
    avg((rank < 5)::INT) AS top5,
    avg(lost) AS lost,
    avg(tokens_lost) AS tokens_lost,
    avg(tokens_cut) AS tokens_cut,
    count(*) AS decisions,
    count(DISTINCT image) AS images
FROM predictions
GROUP BY ALL
ORDER BY ALL;

-- What the models decide differently from the reference: on the very same images, perturbed by the very same
-- random numbers. The share of right decisions of each image, over the seeds, is compared image by image.
CREATE TABLE hits AS
SELECT dataset, model, perturbation, variant, level, image, avg((rank = 0)::INT) AS hit
FROM predictions
GROUP BY ALL;

CREATE TABLE differences AS
WITH
    pairs AS (
        SELECT dataset, hits.model, perturbation, variant, level, hits.hit - other.hit AS apart
        FROM hits
        JOIN hits AS other USING (dataset, perturbation, variant, level, image)
        WHERE
            other.model = getvariable('reference') AND hits.model <> other.model
            AND comparable(perturbation, variant, hits.model, other.model)
    )
SELECT
    dataset, model, perturbation, variant, level,
    avg(apart) AS difference,
    greatest(-1, paired(sum(apart), sum(apart ** 2), count(*), -1)) AS difference_low,
    least(1, paired(sum(apart), sum(apart ** 2), count(*), 1)) AS difference_high
FROM pairs
GROUP BY ALL;

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
    names AS (SELECT family, count(DISTINCT perturbation) AS perturbations FROM asked GROUP BY family)
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
WINDOW strip AS (PARTITION BY dataset, model, perturbation, variant)
ORDER BY dataset, model, perturbation, variant, level;

-- The place of every model, so that its colour is the same in every figure; those that were not evaluated come
-- after those that were.
CREATE TABLE places AS
WITH
    evaluated AS (SELECT DISTINCT model, place FROM measured),
    others AS (SELECT model FROM trainings UNION SELECT model FROM foreground EXCEPT SELECT model FROM evaluated)
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
    touched AS (
        SELECT dataset, model, perturbation, variant, image, avg(hit) AS hit, count(*) AS levels
        FROM hits
        JOIN (SELECT DISTINCT * EXCLUDE (seed) FROM asked WHERE NOT clean)
            USING (dataset, model, perturbation, variant, level)
        GROUP BY ALL
    ),
    pairs AS (
        SELECT dataset, touched.model, perturbation, variant, other.model AS reference, touched.hit - other.hit AS apart
        FROM touched
        JOIN touched AS other USING (dataset, perturbation, variant, image, levels)
        WHERE
            other.model = getvariable('reference') AND touched.model <> other.model
            AND comparable(perturbation, variant, touched.model, other.model)
    ),
    looks AS (SELECT DISTINCT dataset, model, perturbation, variant, model_family, family, place FROM accuracy)
SELECT
    dataset, model, model_family, family, perturbation, variant, reference, place,
    concat_ws(' · ', dataset, replace(perturbation, '_', ' '), in_words(perturbation, variant)) AS panel,
    avg(apart) AS difference,
    greatest(-1, paired(sum(apart), sum(apart ** 2), count(*), -1)) AS low,
    least(1, paired(sum(apart), sum(apart ** 2), count(*), 1)) AS high,
    count(*) AS images
FROM pairs
JOIN looks USING (dataset, model, perturbation, variant)
GROUP BY ALL
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

-- Numbers that others have published, with where they stand. Some values are no numbers.
CREATE TABLE published AS FROM read_csv(getvariable('published'), all_varchar = true);

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
    of_images AS (
        SELECT dataset, model, variant AS corruption, image, avg((p.rank > 0)::INT) AS error
        FROM predictions AS p
        JOIN asked USING (dataset, model, perturbation, variant, level, seed)
        WHERE perturbation = 'corrupt' AND NOT clean
        GROUP BY ALL
    ),
    errors AS (
        SELECT
            dataset, model, corruption,
            avg(error) AS error,
            1.959963984540054 * coalesce(stddev_samp(error), 0) / sqrt(count(*)) AS margin
        FROM of_images
        GROUP BY ALL
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
    classes AS (
        SELECT dataset, bool_and(regexp_full_match(class_name, 'n\d{8}') AND outputs = 1000) AS of_imagenet
        FROM images
        JOIN outputs USING (dataset)
        GROUP BY dataset
    ),
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
        FROM classes
        JOIN alexnet ON condition LIKE 'corruption=%'
        JOIN alexnet AS untouched ON untouched.condition = 'untouched images'
        JOIN imagenet_c ON corruption = regexp_extract(alexnet.condition, 'corruption=(\w+)', 1)
        WHERE of_imagenet
        UNION ALL
        SELECT dataset, corruption, model || ', of this run', severities, error, clean_error
        FROM measured
        SEMI JOIN first USING (dataset, model)
        JOIN classes USING (dataset)
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

-- Shape against texture: the decisions on untouched images whose texture stands for another class than their
-- shape, which is their label. Where a dataset lacks the class of a texture, its images are left out, as no model
-- could answer with it. Of a model's strips, which share their clean decisions, one is read. The rows without a
-- class_name are over all classes.
CREATE TABLE cue_answers AS
WITH
    classes AS (SELECT DISTINCT dataset, label, class_name FROM images WHERE image IS NOT NULL),
    conflicting AS (
        SELECT dataset, image, images.class_name, texture_class
        FROM images
        JOIN classes USING (dataset)
        WHERE image IS NOT NULL AND classes.class_name = texture_class AND texture_class <> images.class_name
    ),
    decisions AS (
        SELECT dataset, model, image, arg_min(pred, (perturbation, variant)) AS pred
        FROM predictions
        JOIN asked USING (dataset, model, perturbation, variant, level, seed)
        SEMI JOIN conflicting USING (dataset, image)
        WHERE clean
        GROUP BY ALL
    )
SELECT
    decisions.dataset, model, conflicting.class_name,
    count(*) AS images,
    count(*) FILTER (classes.class_name = conflicting.class_name) AS shape,
    count(*) FILTER (classes.class_name = texture_class) AS texture,
    any_value(chance) AS chance
FROM decisions
JOIN conflicting USING (dataset, image)
JOIN (SELECT dataset, 1 / count(*) AS chance FROM classes GROUP BY dataset) USING (dataset)
LEFT JOIN classes ON classes.dataset = decisions.dataset AND label = pred
GROUP BY GROUPING SETS ((decisions.dataset, model), (decisions.dataset, model, conflicting.class_name));

-- Shape bias (Geirhos et al. 2019): of the decisions for the class of the shape or of the texture, the share of
-- those for the shape. Where no image was decided so, there is none.
CREATE TABLE shape_bias_by_class AS
SELECT
    dataset, model, class_name, images, shape, texture,
    shape + texture AS decided,
    shape / nullif(shape + texture, 0) AS shape_bias,
    CASE WHEN shape + texture > 0 THEN wilson_low(shape / (shape + texture), shape + texture) END AS low,
    CASE WHEN shape + texture > 0 THEN wilson_high(shape / (shape + texture), shape + texture) END AS high,
    shape / images AS top1,
    wilson_low(shape / images, images) AS top1_low,
    wilson_high(shape / images, images) AS top1_high,
    texture / images AS texture_share,
    wilson_low(texture / images, images) AS texture_low,
    wilson_high(texture / images, images) AS texture_high,
    chance
FROM cue_answers
ORDER BY ALL;

CREATE TABLE shape_bias AS
SELECT
    s.* EXCLUDE (class_name), model_family, place, data AS trained_on, head, teacher,
    EXISTS (FROM stylized WHERE stylized.dataset = s.dataset) AS of_stylized_images
FROM shape_bias_by_class AS s
JOIN (SELECT DISTINCT model, model_family, place FROM measured) USING (model)
LEFT JOIN trainings USING (model)
WHERE class_name IS NULL
ORDER BY dataset, place;

-- '0.62 (0.58 to 0.66)': a share and its interval.
CREATE MACRO in_numbers(share, low, high) AS format('{:.2f} ({:.2f} to {:.2f})', share, low, high);

-- Is a share above another? Only intervals that do not touch answer.
CREATE MACRO is_above(low, high, other_low, other_high) AS CASE
    WHEN low > other_high THEN 'yes' WHEN high < other_low THEN 'no' ELSE 'cannot tell'
END;

-- Is a texture hidden by stylizing? It is if it is answered less often than 1.5 times by chance, and more often
-- before.
CREATE MACRO is_hidden(low, high, low_before, chance) AS CASE
    WHEN low > 1.5 * chance THEN 'no'
    WHEN high < 1.5 * chance AND high < low_before THEN 'yes'
    ELSE 'cannot tell'
END;

-- What the trainings show, a row for each statement and what it is about.
CREATE TABLE findings AS
WITH
    biases AS (
        SELECT *, in_numbers(shape_bias, low, high) AS told
        FROM shape_bias
        WHERE decided > 0 AND NOT of_stylized_images
    ),
    -- The same network, trained in the same way once on images and once on what was stylized of them.
    raised AS (
        SELECT
            1 AS place,
            'Training on stylized images raises the shape bias' AS claim,
            format('{} against {} on {}', s.model, n.model, s.dataset) AS about,
            is_above(s.low, s.high, n.low, n.high) AS verdict,
            format('{} against {}; {} and {} decided images', s.told, n.told, s.decided, n.decided) AS numbers
        FROM trainings AS stylized_training
        JOIN trainings AS natural_training
            ON natural_training.data = stylized_training.content
            AND natural_training.architecture = stylized_training.architecture
            AND natural_training.settings = stylized_training.settings
            AND natural_training.head IS NOT DISTINCT FROM stylized_training.head
        JOIN biases AS s ON s.model = stylized_training.model
        JOIN biases AS n ON n.model = natural_training.model AND n.dataset = s.dataset
        WHERE stylized_training.teacher IS NULL AND natural_training.teacher IS NULL
    ),
    distilled AS (
        SELECT
            b.dataset, run, architecture, settings, data, trainings.teacher, trainings.head,
            b.model, b.shape_bias, b.low, b.high, b.decided, b.told,
            t.shape_bias AS teacher_bias, t.low AS teacher_low, t.high AS teacher_high, t.told AS teacher_told
        FROM trainings
        JOIN biases AS b USING (model)
        JOIN biases AS t ON t.model = trainings.teacher AND t.dataset = b.dataset
    ),
    between_both AS (
        SELECT
            2 AS place,
            'The shape token lies between the class token and the teacher' AS claim,
            format('{} between {} and {} on {}', s.model, c.model, s.teacher, dataset) AS about,
            CASE
                WHEN s.low > c.high AND s.high < s.teacher_low THEN 'yes'
                WHEN s.high < c.low OR s.low > s.teacher_high THEN 'no'
                ELSE 'cannot tell'
            END AS verdict,
            format(
                'class {}, shape {}, teacher {}; {} and {} decided images of the tokens',
                c.told, s.told, s.teacher_told, c.decided, s.decided
            ) AS numbers
        FROM distilled AS s
        JOIN distilled AS c USING (dataset, run)
        WHERE s.head = 'shape' AND c.head = 'class'
    ),
    -- Two teachers of the same student, the one with the higher shape bias first.
    passed_on AS (
        SELECT
            3 AS place,
            'The teacher with the higher shape bias gives the shape token the higher one' AS claim,
            format('{} taught by {} against {} by {} on {}', m.model, m.teacher, l.model, l.teacher, dataset)
                AS about,
            CASE
                WHEN m.teacher_low > l.teacher_high THEN is_above(m.low, m.high, l.low, l.high)
                ELSE 'cannot tell'
            END AS verdict,
            format(
                '{} against {}; teachers {} against {}; {} and {} decided images of the tokens',
                m.told, l.told, m.teacher_told, l.teacher_told, m.decided, l.decided
            ) AS numbers
        FROM distilled AS m
        JOIN distilled AS l USING (dataset, architecture, settings, data, head)
        WHERE
            head = 'shape'
            AND (m.teacher_bias, m.teacher) > (l.teacher_bias, l.teacher)
    ),
    -- Of models that answer for the texture before.
    hidden AS (
        SELECT
            4 AS place,
            'Stylizing hides the texture' AS claim,
            format('{} on {}, which was stylized from {}', s.model, s.dataset, n.dataset) AS about,
            is_hidden(s.texture_low, s.texture_high, n.texture_low, s.chance) AS verdict,
            format(
                'texture answered {} against {} before; {} and {} images; chance is {:.2f}',
                in_numbers(s.texture_share, s.texture_low, s.texture_high),
                in_numbers(n.texture_share, n.texture_low, n.texture_high),
                s.images, n.images, s.chance
            ) AS numbers
        FROM shape_bias AS s
        JOIN stylized USING (dataset)
        JOIN shape_bias AS n ON n.dataset = stylized.content AND n.model = s.model
        JOIN trainings ON trainings.model = s.model
        WHERE NOT trainings.stylized AND trainings.teacher IS NULL AND n.texture_low > 1.5 * n.chance
    ),
    -- A dataset is labelled by texture if what its textures stand for is none of its classes.
    labels AS (
        SELECT dataset, coalesce(NOT bool_or(list_contains(names, texture_class)), false) AS are_textures
        FROM images
        JOIN (SELECT dataset, list(DISTINCT class_name) AS names FROM images GROUP BY dataset) USING (dataset)
        GROUP BY dataset
    ),
    scores AS (
        SELECT
            models.dataset, models.model, top1, low, high, images, chance, in_numbers(top1, low, high) AS told,
            stylized.content, trainings.* EXCLUDE (model, stylized, content), trainings.content AS data_content
        FROM models
        JOIN stylized USING (dataset)
        JOIN trainings USING (model)
        WHERE trainings.stylized AND trainings.teacher IS NULL AND dataset <> data
    ),
    -- The same network learns the textures of images, but not of what was stylized of them.
    unlearnable AS (
        SELECT
            5 AS place,
            'Stylizing hides the texture even from a network that learns to name it' AS claim,
            format('{} on {}, against {} on {}', s.model, s.dataset, n.model, n.dataset) AS about,
            is_hidden(s.low, s.high, n.low, s.chance) AS verdict,
            format(
                'texture named {} against {} before; {} and {} images; chance is {:.2f}',
                s.told, in_numbers(n.top1, n.low, n.high), s.images, n.images, s.chance
            ) AS numbers
        FROM scores AS s
        JOIN labels ON labels.dataset = s.dataset AND are_textures
        JOIN trainings AS natural_training
            ON natural_training.data = data_content
            AND natural_training.architecture = s.architecture
            AND natural_training.settings = s.settings
            AND natural_training.teacher IS NULL
        JOIN models AS n ON n.model = natural_training.model AND n.dataset = s.content
    ),
    readable AS (
        SELECT
            6 AS place,
            'Stylized images still tell the shape' AS claim,
            format('{} on {}', model, dataset) AS about,
            is_above(low, high, chance, chance) AS verdict,
            format('top-1 {} of {} images; chance is {:.2f}', told, images, chance) AS numbers
        FROM scores
        ANTI JOIN (FROM labels WHERE are_textures) USING (dataset)
    ),
    -- The Jaccard index of attention and true mask, a mean over the shares of attention, image by image.
    attended AS (
        SELECT
            dataset, model,
            avg(jaccard) AS jaccard,
            avg(random) AS random,
            avg(jaccard) - avg(random) AS apart,
            1.959963984540054 * coalesce(stddev_samp(jaccard - random), 0) / sqrt(count(*)) AS margin,
            count(*) AS images
        FROM (
            SELECT dataset, model, image, avg(jaccard) AS jaccard, avg(random) AS random
            FROM foreground
            GROUP BY ALL
        )
        GROUP BY ALL
    ),
    foregrounds AS (
        SELECT
            7 AS place,
            'The class token attends to the object more than as many random patches' AS claim,
            format('{} on {}', model, dataset) AS about,
            is_above(apart - margin, apart + margin, 0, 0) AS verdict,
            format(
                'Jaccard index {:.2f} against {:.2f}, difference {}; {} images',
                jaccard, random, in_numbers(apart, apart - margin, apart + margin), images
            ) AS numbers
        FROM attended
    )
SELECT claim, about, verdict, numbers
FROM (
    FROM raised
    UNION ALL FROM between_both
    UNION ALL FROM passed_on
    UNION ALL FROM hidden
    UNION ALL FROM unlearnable
    UNION ALL FROM readable
    UNION ALL FROM foregrounds
)
ORDER BY place, about;
