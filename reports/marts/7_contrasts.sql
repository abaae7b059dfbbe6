-- What the claims of the paper compare. A claim is a row of reports/claims.csv; of each comparison that it is decided
-- by, `effects` has a row: how far apart the two are in the unit of the claim, with its 95 % interval, over how many
-- images (or episodes). The files 8_effects_* fill it.
CREATE TABLE effects (
    claim VARCHAR, about VARCHAR, effect DOUBLE, low DOUBLE, high DOUBLE, sampled BIGINT, numbers VARCHAR
);

-- Of these, shares of right decisions of two conditions on the same images, which are compared image by image: of two
-- models, levels, perturbations. Where a level is null it is all but the clean one. With `changed`, what counts is how
-- many images are decided differently. 8_paired.sql compares them.
CREATE TEMP TABLE contrasts (
    claim VARCHAR, about VARCHAR, changed BOOLEAN DEFAULT false, dataset VARCHAR,
    model VARCHAR, perturbation VARCHAR, variant VARCHAR, level DOUBLE,
    other_model VARCHAR, other_perturbation VARCHAR, other_variant VARCHAR, other_level DOUBLE
);

-- 95 % interval of the difference a - b of two numbers that do not share images, from the intervals of both: of shares,
-- with Wilson's intervals, it is Newcombe's (Statistics in Medicine, 1998, method 10).
CREATE MACRO apart_low(a, a_low, b, b_high) AS a - b - sqrt((a - a_low) ** 2 + (b_high - b) ** 2);
CREATE MACRO apart_high(a, a_high, b, b_low) AS a - b + sqrt((a_high - a) ** 2 + (b - b_low) ** 2);

-- '0.724 against 0.464', '72.4 against 46.4 %'.
CREATE MACRO in_numbers(one, another) AS format('{:.3f} against {:.3f}', one::DOUBLE, another::DOUBLE);
CREATE MACRO in_percent(one, another) AS format('{:.1f} against {:.1f} %', 100 * one::DOUBLE, 100 * another::DOUBLE);

-- What is known of every model. Two were trained on the same if both were trained here on the same dataset, or one was
-- not trained here.
CREATE TEMP TABLE known_models AS
WITH
    families AS (SELECT model, model_family FROM asked UNION SELECT model, model_family FROM measures)
SELECT
    model, model_family, data, patch_pixels, positions,
    split_part(timm, '.', 1) AS timm, -- without the tag of its weights
    coalesce(untrained, false) AS untrained,
    coalesce(stylized, false) AS stylized
FROM families
LEFT JOIN trainings USING (model)
LEFT JOIN networks USING (model);

CREATE MACRO same_data(data, other) AS coalesce(data, other, '') = coalesce(other, data, '');

-- Each ViT beside each CNN: of the families `vit` and `cnn`, and with hierarchical ones, of the family `swin`.
CREATE TEMP TABLE pairs AS
SELECT v.model_family, v.model, c.model AS other
FROM known_models AS v
JOIN known_models AS c ON same_data(v.data, c.data)
WHERE v.model_family IN ('vit', 'swin') AND c.model_family = 'cnn';

CREATE TEMP TABLE vits_and_cnns AS SELECT model, other FROM pairs WHERE model_family = 'vit';

-- The same network, trained on images and on what was stylized of them, in the same way; else as it was given, with
-- weights that were not trained here. Of the paper's own weights the names tell it.
CREATE TEMP TABLE twins AS
WITH
    stylized_trainings AS (FROM trainings WHERE stylized AND teacher IS NULL),
    trained_here AS (
        SELECT s.model AS stylized_model, n.model AS natural_model
        FROM stylized_trainings AS s
        JOIN trainings AS n
            ON n.data = s.content AND n.architecture = s.architecture AND n.settings = s.settings
            AND n.head IS NOT DISTINCT FROM s.head AND n.teacher IS NULL
    ),
    as_given AS (
        SELECT s.model AS stylized_model, n.model AS natural_model
        FROM stylized_trainings AS s
        JOIN networks AS n USING (architecture)
        ANTI JOIN trainings AS t ON t.model = n.model
        ANTI JOIN trained_here AS h ON h.stylized_model = s.model
        WHERE NOT untrained
    ),
    as_published AS (
        SELECT s.name AS stylized_model, n.name AS natural_model
        FROM published_as AS s
        JOIN published_as AS n USING (kind)
        WHERE kind = 'model' AND s.published = n.published || '-SIN'
    )
SELECT stylized_model, natural_model, model_family
FROM (FROM trained_here UNION FROM as_given UNION FROM as_published)
JOIN known_models ON model = natural_model
WHERE model_family IN ('vit', 'cnn');

-- A ViT and others of its kind that differ in one thing: no positions, or larger patches.
CREATE TEMP TABLE counterparts AS
SELECT
    v.model, o.model AS other,
    if(o.positions, 'patches', 'positions') AS differs
FROM known_models AS v
JOIN known_models AS o ON o.timm = v.timm AND same_data(v.data, o.data)
WHERE
    v.model_family = 'vit' AND v.positions AND NOT o.stylized AND NOT o.untrained
    AND (
        (o.positions AND o.patch_pixels > v.patch_pixels)
        OR (NOT o.positions AND o.patch_pixels IS NOT DISTINCT FROM v.patch_pixels)
    );

-- The paper's own students with a shape token, of whose training nothing is known here: ResNet50-SIN taught them.
CREATE TEMP TABLE students_published AS
SELECT name AS model, published, head
FROM published_as
WHERE kind = 'model' AND published LIKE '%-SIN distilled';

-- Both heads of a student.
CREATE TEMP TABLE students AS
SELECT c.model AS class_model, s.model AS shape_model, s.teacher
FROM trainings AS c
JOIN trainings AS s USING (run)
WHERE c.head = 'class' AND s.head = 'shape' AND s.teacher IS NOT NULL
UNION
SELECT c.model AS class_model, s.model AS shape_model, t.name AS teacher
FROM students_published AS c
JOIN students_published AS s USING (published)
LEFT JOIN published_as AS t ON t.kind = 'model' AND t.published = 'ResNet50-SIN'
WHERE c.head = 'class' AND s.head = 'shape';

-- Networks of which a token has learnt from a teacher that was trained on stylized images, or another teacher here.
CREATE TEMP TABLE taught AS
SELECT model FROM trainings WHERE teacher IS NOT NULL
UNION
SELECT model FROM students_published;

-- Where each model can be found under which perturbation: all levels, and all but the clean one together.
CREATE TEMP TABLE conditions AS
SELECT dataset, model, model_family, perturbation, variant, level, clean, tokens_cut FROM measured
UNION ALL
SELECT DISTINCT dataset, model, model_family, perturbation, variant, NULL AS level, false AS clean, NULL AS tokens_cut
FROM measured
WHERE NOT clean;

-- Untouched images are in each strip, and decided alike; of natural ones shape and texture do not disagree.
CREATE TEMP TABLE untouched AS
SELECT
    dataset, model,
    arg_min({perturbation: perturbation, variant: variant, level: level}, (perturbation, variant)) AS place,
    any_value(top1) AS top1
FROM measured
WHERE clean
GROUP BY ALL;

CREATE TEMP TABLE natural_datasets AS
SELECT DISTINCT dataset FROM untouched
ANTI JOIN stylized USING (dataset)
ANTI JOIN shape_bias USING (dataset);
