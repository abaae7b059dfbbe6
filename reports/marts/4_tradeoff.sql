-- What shape bias costs. To each dataset of conflicting images belongs one of natural images: of those with the same
-- classes, or with the classes that its categories are made of, the one on which most of the same models were
-- evaluated; and to this one the images that were stylized of it, or else stylized ones of its classes.
CREATE TABLE natural_images AS
WITH
    sets AS (
        SELECT
            dataset,
            count(image) AS images,
            list(DISTINCT class_name ORDER BY class_name) AS names,
            bool_or(texture_class IS DISTINCT FROM class_name AND texture_class IS NOT NULL) AS disagree,
            dataset IN (SELECT dataset FROM stylized) AS is_stylized
        FROM images
        WHERE image IS NOT NULL
        GROUP BY dataset
    ),
    members AS (SELECT dataset, flatten(list(members)) AS members FROM categories GROUP BY dataset),
    conflicts AS (
        SELECT sets.*, members
        FROM sets
        SEMI JOIN shape_bias USING (dataset)
        LEFT JOIN members USING (dataset)
        WHERE NOT is_stylized
    ),
    shared AS (
        SELECT a.dataset, b.dataset AS other, count(*) AS models
        FROM models AS a
        JOIN models AS b USING (model)
        GROUP BY ALL
    ),
    naturals AS (
        SELECT c.dataset, arg_max(n.dataset, (models, n.images, n.dataset)) AS natural_images
        FROM conflicts AS c
        JOIN sets AS n
            ON n.names = c.names
            OR list_has_all((SELECT names FROM outputs WHERE outputs.dataset = n.dataset), c.members)
        JOIN shared ON shared.dataset = c.dataset AND shared.other = n.dataset
        WHERE NOT n.disagree AND NOT n.is_stylized
        GROUP BY c.dataset
    ),
    restyled AS (
        SELECT
            naturals.dataset, arg_max(s.dataset, (content = natural_images, models, s.images, s.dataset)) AS stylized_images
        FROM naturals
        JOIN sets AS n ON n.dataset = natural_images
        JOIN sets AS s ON s.names = n.names AND s.is_stylized AND NOT s.disagree
        JOIN stylized ON stylized.dataset = s.dataset
        JOIN shared ON shared.dataset = naturals.dataset AND shared.other = s.dataset
        GROUP BY naturals.dataset
    )
SELECT c.dataset, natural_images, stylized_images
FROM conflicts AS c
LEFT JOIN naturals USING (dataset)
LEFT JOIN restyled USING (dataset)
ORDER BY ALL;

-- Every model, and of a distilled network each head, with what was measured of it; null where nothing was.
CREATE TABLE tradeoff AS
SELECT
    p.dataset, natural_images, stylized_images, m.model, place, run, head, t.data AS trained_on, t.teacher,
    n.top1 AS natural_top1, n.low AS natural_low, n.high AS natural_high, n.images AS natural_count,
    s.top1 AS stylized_top1, s.low AS stylized_low, s.high AS stylized_high, s.images AS stylized_count,
    b.shape_bias, b.low, b.high, b.decided, b.images,
    b.class_mean, b.class_mean_low, b.class_mean_high, b.classes_decided, b.classes
FROM natural_images AS p
CROSS JOIN (SELECT DISTINCT model, place FROM measured) AS m
LEFT JOIN models AS n ON n.model = m.model AND n.dataset = natural_images
LEFT JOIN models AS s ON s.model = m.model AND s.dataset = stylized_images
LEFT JOIN (SELECT * EXCLUDE (head, teacher, trained_on, place) FROM shape_bias) AS b
    ON b.model = m.model AND b.dataset = p.dataset
LEFT JOIN trainings AS t ON t.model = m.model
WHERE n.model IS NOT NULL OR s.model IS NOT NULL OR b.model IS NOT NULL
ORDER BY p.dataset, place;
