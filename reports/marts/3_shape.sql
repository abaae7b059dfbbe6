-- Shape against texture. An observer is a model of the run (kind model), a network or a person whose decisions were
-- read from files (network, person), or all persons of a dataset together (people).

-- What a decision can name: the classes that a dataset has images of and, where these are categories, all of them.
CREATE TABLE cue_classes AS
SELECT dataset, label, class_name FROM images WHERE image IS NOT NULL
UNION
SELECT dataset, label, class_name FROM categories;

-- The decisions on untouched images whose texture stands for another class than their shape, which is their label.
-- Where a dataset lacks the class of a texture, its images are left out, as no model could answer with it. Of a
-- model's strips, which share their clean decisions, one is read. An answer that is no class of the dataset, or
-- none, is null.
CREATE TABLE cue_decisions AS
WITH
    conflicting AS (
        SELECT dataset, image, path, images.class_name AS shape_class, texture_class
        FROM images
        JOIN cue_classes AS c USING (dataset)
        WHERE image IS NOT NULL AND c.class_name = texture_class AND texture_class <> images.class_name
    ),
    decided AS (
        SELECT dataset, model, image, arg_min(pred, (perturbation, variant)) AS pred
        FROM predictions
        JOIN asked USING (dataset, model, perturbation, variant, level, seed)
        SEMI JOIN conflicting USING (dataset, image)
        WHERE clean
        GROUP BY ALL
    )
SELECT
    decided.dataset, model AS observer, 'model' AS kind,
    regexp_replace(path, '\.[^./]+$', '') AS stimulus,
    shape_class, texture_class, cue_classes.class_name AS answer
FROM decided
JOIN conflicting USING (dataset, image)
LEFT JOIN cue_classes ON cue_classes.dataset = decided.dataset AND label = pred
UNION ALL
SELECT
    dataset,
    CASE WHEN human THEN observer ELSE observer || ' (decisions)' END,
    CASE WHEN human THEN 'person' ELSE 'network' END,
    stimulus, shape_class, texture_class, answer
FROM other_decisions
WHERE texture_class <> shape_class;

-- The persons of Geirhos et al. 2019 (neutral instruction), by category and, with the class_name null, over all.
CREATE TABLE published_persons AS
SELECT
    model AS observer,
    nullif(regexp_extract(condition, 'category=([^;]+)', 1), 'all(pooled)') AS class_name,
    regexp_extract(condition, 'n_conflict=(\d+)', 1)::BIGINT AS images,
    regexp_extract(condition, 'shape=(\d+)', 1)::BIGINT AS shape,
    regexp_extract(condition, 'texture=(\d+)', 1)::BIGINT AS texture
FROM published
WHERE
    experiment = 'shape_bias_raw_geirhos' AND metric = 'shape_bias'
    AND condition LIKE 'neutral instruction;observer_type=human;%' AND condition NOT LIKE '%all(class-mean)%';

-- Conflicting images of just their categories, on which no other persons are told of: what they have decided can be
-- shown beside.
CREATE TABLE compared_with_published AS
SELECT dataset
FROM cue_classes
SEMI JOIN (FROM cue_decisions WHERE kind = 'model') USING (dataset)
ANTI JOIN (FROM cue_decisions WHERE kind = 'person') USING (dataset)
ANTI JOIN stylized USING (dataset)
GROUP BY dataset
HAVING
    list(DISTINCT class_name ORDER BY class_name)
    = (SELECT list(DISTINCT class_name ORDER BY class_name) FROM published_persons WHERE class_name IS NOT NULL);

-- How often each observer decided for shape and for texture, by class of the shape; rows without a class_name are
-- over all classes. Of people, images are those that each has seen.
CREATE TABLE cue_answers AS
WITH
    persons AS (
        SELECT dataset, count(DISTINCT observer) AS persons FROM cue_decisions WHERE kind = 'person' GROUP BY dataset
    ),
    each AS (
        SELECT
            dataset, observer, kind, shape_class AS class_name,
            count(*) AS images,
            count(*) FILTER (answer = shape_class) AS shape,
            count(*) FILTER (answer = texture_class) AS texture
        FROM cue_decisions
        GROUP BY GROUPING SETS ((dataset, observer, kind), (dataset, observer, kind, shape_class))
    )
FROM each
UNION ALL
SELECT
    dataset, format('humans, n = {}', any_value(persons)), 'people', class_name, max(images), sum(shape)::BIGINT,
    sum(texture)::BIGINT
FROM each
JOIN persons USING (dataset)
WHERE kind = 'person'
GROUP BY dataset, class_name
UNION ALL
SELECT
    dataset,
    CASE
        WHEN observer LIKE 'humans%' THEN 'humans (published)'
        WHEN observer = 'subject-10' THEN 'subject-10 (“Humans”)' -- those of figure 6 of the paper
        ELSE observer
    END,
    CASE WHEN observer LIKE 'humans%' THEN 'people' ELSE 'person' END,
    class_name,
    CASE WHEN observer LIKE 'humans%' THEN images // 10 ELSE images END,
    shape, texture
FROM published_persons
CROSS JOIN compared_with_published;

-- The place of an observer, so that it looks the same in every figure: models first; below 0 are humans.
CREATE TABLE observers AS
SELECT
    dataset, observer, kind,
    CASE kind
        WHEN 'people' THEN -1
        WHEN 'person' THEN -2
        WHEN 'model' THEN place
        ELSE (SELECT count(*) FROM places) - 1 + dense_rank() OVER (PARTITION BY kind ORDER BY observer)
    END AS place
FROM (SELECT DISTINCT dataset, observer, kind FROM cue_answers)
LEFT JOIN places ON kind = 'model' AND model = observer
ORDER BY ALL;

-- Shape bias (Geirhos et al. 2019): of the decisions for the class of the shape or of the texture, the share of
-- those for the shape. Where no image was decided so, there is none. Intervals are Wilson's over images; those of
-- people are over persons (bootstrap), where the decisions of each are known.
CREATE TABLE observed_bias_by_class AS
WITH
    each_person AS (
        SELECT dataset, class_name, list([shape] ORDER BY observer) AS shapes, list([texture] ORDER BY observer) AS textures
        FROM cue_answers
        WHERE kind = 'person'
        GROUP BY ALL
        HAVING count(*) > 1
    ),
    over_persons AS (
        SELECT dataset, class_name, 'people' AS kind, bias_over_observers(shapes, textures) AS ends FROM each_person
    ),
    decided AS (FROM cue_answers SELECT *, shape + texture AS decided)
SELECT
    d.*, place,
    shape / nullif(decided, 0) AS shape_bias,
    CASE
        WHEN decided = 0 THEN NULL WHEN d.kind = 'people' THEN ends[1] ELSE wilson_low(shape / decided, decided)
    END AS low,
    CASE
        WHEN decided = 0 THEN NULL WHEN d.kind = 'people' THEN ends[2] ELSE wilson_high(shape / decided, decided)
    END AS high
FROM decided AS d
JOIN observers USING (dataset, observer, kind)
LEFT JOIN over_persons AS o
    ON o.dataset = d.dataset AND o.class_name IS NOT DISTINCT FROM d.class_name AND o.kind = d.kind
ORDER BY ALL;

-- The mean over classes of their shape biases; classes of which no image was decided for shape or texture are left
-- out and counted. Intervals are by bootstrap: over the images of each class; of people, over persons.
CREATE TABLE class_means AS
WITH
    by_class AS (FROM observed_bias_by_class WHERE class_name IS NOT NULL),
    all_classes AS (SELECT DISTINCT dataset, class_name FROM by_class WHERE kind = 'person'),
    all_persons AS (SELECT DISTINCT dataset, observer FROM cue_decisions WHERE kind = 'person'),
    each_person AS (
        SELECT
            dataset, observer,
            list(coalesce(shape, 0) ORDER BY class_name) AS shapes,
            list(coalesce(texture, 0) ORDER BY class_name) AS textures
        FROM all_persons
        JOIN all_classes USING (dataset)
        LEFT JOIN by_class USING (dataset, observer, class_name)
        GROUP BY ALL
    ),
    over_persons AS (
        SELECT dataset, bias_over_observers(list(shapes ORDER BY observer), list(textures ORDER BY observer)) AS ends
        FROM each_person
        GROUP BY dataset
        HAVING count(*) > 1
    ),
    each AS (
        SELECT
            dataset, observer, kind,
            avg(shape_bias) AS class_mean,
            count(shape_bias) AS classes_decided,
            count(*) AS classes,
            CASE
                WHEN kind <> 'people' THEN bias_over_images(
                    list(shape ORDER BY class_name), list(texture ORDER BY class_name), list(images ORDER BY class_name)
                )
            END AS ends
        FROM by_class
        GROUP BY dataset, observer, kind
    )
SELECT
    dataset, observer, kind, class_mean,
    CASE WHEN kind = 'people' THEN o.ends[3] WHEN class_mean IS NOT NULL THEN e.ends[3] END AS class_mean_low,
    CASE WHEN kind = 'people' THEN o.ends[4] WHEN class_mean IS NOT NULL THEN e.ends[4] END AS class_mean_high,
    classes_decided, classes
FROM each AS e
LEFT JOIN over_persons AS o USING (dataset)
ORDER BY ALL;

-- Of every observer, over all classes.
CREATE TABLE observed_bias AS
SELECT b.* EXCLUDE (class_name), m.* EXCLUDE (dataset, observer, kind)
FROM observed_bias_by_class AS b
LEFT JOIN class_means AS m USING (dataset, observer, kind)
WHERE class_name IS NULL
ORDER BY dataset, place, observer;

-- The order of classes from the most to the least shape bias: of the people, else of the reference, else of the
-- first model.
CREATE TABLE category_order AS
WITH
    leaders AS (
        SELECT
            dataset,
            arg_min(
                {observer: observer, kind: kind},
                (kind <> 'people', observer <> getvariable('reference'), place, observer)
            ) AS leader
        FROM observers
        WHERE kind IN ('people', 'model')
        GROUP BY dataset
    ),
    led AS (
        SELECT dataset, class_name, b.shape_bias
        FROM observed_bias_by_class AS b
        JOIN leaders USING (dataset)
        WHERE observer = leader.observer AND kind = leader.kind
    )
SELECT
    dataset, class_name,
    row_number() OVER (PARTITION BY dataset ORDER BY shape_bias DESC NULLS LAST, class_name) AS row_place
FROM (SELECT DISTINCT dataset, class_name FROM observed_bias_by_class WHERE class_name IS NOT NULL)
LEFT JOIN led USING (dataset, class_name)
ORDER BY ALL;

-- Of the models of the run alone, with what they are.
CREATE TABLE shape_bias_by_class AS
SELECT
    dataset, observer AS model, class_name, images, shape, texture, decided, shape_bias, low, high,
    shape / images AS top1,
    wilson_low(shape / images, images) AS top1_low,
    wilson_high(shape / images, images) AS top1_high,
    texture / images AS texture_share,
    wilson_low(texture / images, images) AS texture_low,
    wilson_high(texture / images, images) AS texture_high,
    chance
FROM observed_bias_by_class
JOIN (SELECT dataset, 1 / count(*) AS chance FROM cue_classes GROUP BY dataset) USING (dataset)
WHERE kind = 'model'
ORDER BY ALL;

-- The same over all classes, with what the models have learnt from.
CREATE TABLE shape_bias AS
SELECT
    s.* EXCLUDE (class_name), class_mean, class_mean_low, class_mean_high, classes_decided, classes,
    model_family, place, data AS trained_on, head, teacher,
    EXISTS (FROM stylized WHERE stylized.dataset = s.dataset) AS of_stylized_images
FROM shape_bias_by_class AS s
JOIN (SELECT DISTINCT model, model_family, place FROM measured) USING (model)
JOIN class_means AS m ON m.dataset = s.dataset AND m.observer = s.model AND m.kind = 'model'
LEFT JOIN trainings USING (model)
WHERE class_name IS NULL
ORDER BY s.dataset, place;

-- Error consistency (Geirhos et al. 2020): Cohen's kappa of being right about the shape, of any two observers on the
-- same images: 0 if they err together as often as by chance, 1 if always. Intervals are by bootstrap over images.
CREATE TABLE error_consistency AS
WITH
    answers AS (
        SELECT dataset, observer, kind, place, stimulus, answer IS NOT DISTINCT FROM shape_class AS is_right
        FROM cue_decisions
        JOIN observers USING (dataset, observer, kind)
    ),
    pairs AS (
        SELECT
            dataset,
            a.observer AS observer, a.kind AS kind, a.place AS place,
            b.observer AS other, b.kind AS other_kind, b.place AS other_place,
            count(*) AS images,
            count(*) FILTER (a.is_right AND b.is_right) AS both_right,
            count(*) FILTER (a.is_right AND NOT b.is_right) AS first_right,
            count(*) FILTER (NOT a.is_right AND b.is_right) AS second_right,
            count(*) FILTER (NOT a.is_right AND NOT b.is_right) AS none_right
        FROM answers AS a
        JOIN answers AS b USING (dataset, stimulus)
        WHERE (a.kind, a.observer) < (b.kind, b.observer)
        GROUP BY ALL
    ),
    agreeing AS (
        SELECT
            *,
            (both_right + none_right) / images AS agreed,
            (both_right + first_right) / images AS right_share,
            (both_right + second_right) / images AS other_right_share,
            right_share * other_right_share + (1 - right_share) * (1 - other_right_share) AS expected,
            CASE
                WHEN expected < 1 THEN kappa_interval([both_right, first_right, second_right, none_right])
            END AS ends
        FROM pairs
    )
SELECT
    * EXCLUDE (ends),
    (agreed - expected) / nullif(1 - expected, 0) AS kappa,
    ends[1] AS low,
    ends[2] AS high
FROM agreeing
ORDER BY ALL;
