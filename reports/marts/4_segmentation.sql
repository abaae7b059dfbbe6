-- How well attention finds objects, counted in several ways, for each class in each image. The authors count for
-- each class in each image the head that agrees best, of images that are squashed into a square, and void as
-- background; each way after that takes one step away from theirs. `random` is counted in the same way, of as
-- many random patches, the best of as many sets where the best head counts.
CREATE TABLE segmentation_objects AS
WITH
    rows_of_heads AS (SELECT * FROM segmentation WHERE round(level::DOUBLE, 6) = 0.9),
    squashed AS (SELECT * FROM rows_of_heads WHERE aspect <> 'kept'),
    best AS (
        SELECT
            dataset, model, token, image, class_id,
            max(jaccard_void) AS jaccard_void, max(random_void) AS random_void,
            max(jaccard) AS jaccard, max(random) AS random
        FROM squashed
        WHERE head >= 0
        GROUP BY ALL
    ),
    means_of_heads AS (
        SELECT dataset, model, token, head, avg(jaccard) AS jaccard
        FROM (
            SELECT dataset, model, token, head, image, avg(jaccard) AS jaccard
            FROM squashed
            WHERE head >= 0
            GROUP BY ALL
        )
        GROUP BY ALL
    ),
    best_head AS (
        SELECT dataset, model, token, arg_max(head, (jaccard, -head)) AS head FROM means_of_heads GROUP BY ALL
    )
SELECT 1 AS step, 'as the authors' AS way, dataset, model, token, image, class_id,
    jaccard_void AS jaccard, random_void AS random
FROM best
UNION ALL BY NAME
SELECT 2 AS step, 'void left out' AS way, dataset, model, token, image, class_id, jaccard, random
FROM best
UNION ALL BY NAME
SELECT 3 AS step, 'one head for all images' AS way, dataset, model, token, image, class_id, jaccard, random
FROM squashed
SEMI JOIN best_head USING (dataset, model, token, head)
UNION ALL BY NAME
SELECT 4 AS step, 'mean of heads' AS way, dataset, model, token, image, class_id, jaccard, random
FROM squashed
WHERE head = -1
UNION ALL BY NAME
SELECT 5 AS step, 'mean of heads, aspect kept' AS way, dataset, model, token, image, class_id, jaccard, random
FROM rows_of_heads
WHERE head = -1 AND aspect <> 'squashed';

-- An image is the mean over the classes in it.
CREATE TABLE segmentation_images AS
SELECT step, way, dataset, model, token, image, avg(jaccard) AS jaccard, avg(random) AS random
FROM segmentation_objects
GROUP BY ALL;

-- How well each token of each model agrees with true masks, by the ways of counting: means over images.
CREATE TABLE segmentation_scores AS
SELECT
    step, way, dataset, model, place, token,
    avg(jaccard) AS jaccard,
    share_low(jaccard) AS low,
    share_high(jaccard) AS high,
    avg(random) AS random,
    count(*) AS images
FROM segmentation_images
JOIN places USING (model)
GROUP BY ALL
ORDER BY dataset, step, place, token;

-- The same for each class, over the images that it is in.
CREATE TABLE segmentation_by_class AS
SELECT
    step, way, dataset, model, place, token, class_id,
    avg(jaccard) AS jaccard,
    share_low(jaccard) AS low,
    share_high(jaccard) AS high,
    avg(random) AS random,
    count(*) AS images
FROM segmentation_objects
JOIN places USING (model)
GROUP BY ALL
ORDER BY dataset, step, place, token, class_id;
