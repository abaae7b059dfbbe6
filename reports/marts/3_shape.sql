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
