-- The numbers that the card of a model shows, in their order: one SELECT for each kind of number. A `share` is told in
-- percent, a `number` as it is. `counted` are the images or episodes that the interval is over.
CREATE TABLE headlines AS
SELECT
    1 AS row_place, model, dataset, 'top-1, untouched' AS headline,
    'share' AS unit, top1 AS value, low, high, images AS counted
FROM models
UNION ALL BY NAME
SELECT
    2 AS row_place, model, dataset, format('top-1, half of the {} tiles dropped', variant) AS headline,
    'share' AS unit, top1 AS value, low, high, images AS counted
FROM accuracy
WHERE perturbation = 'random_drop' AND level = 0.5 AND regexp_full_match(variant, '\d+x\d+')
UNION ALL BY NAME
SELECT
    3 AS row_place, model, dataset, format('top-1, {:d} tiles shuffled', level::INT) AS headline,
    'share' AS unit, top1 AS value, low, high, images AS counted
FROM accuracy
WHERE perturbation = 'shuffle_grid' AND level IN (16, 64)
UNION ALL BY NAME
SELECT
    4 AS row_place, model, dataset, format('top-1 under {}, bound {:d}/255', upper(perturbation), level::INT) AS headline,
    'share' AS unit, top1 AS value, low, high, images AS counted
FROM accuracy
WHERE family = 'adversarial' AND level = 4
UNION ALL BY NAME
SELECT
    5 AS row_place, model, dataset, format('mean error under {:d} corruptions', corruptions) AS headline,
    'share' AS unit, mean_error AS value, images AS counted
FROM mce
UNION ALL BY NAME
SELECT 6 AS row_place, model, dataset, 'mCE' AS headline, 'number' AS unit, mce AS value, images AS counted
FROM mce
WHERE mce IS NOT NULL
UNION ALL BY NAME
SELECT
    7 AS row_place, model, dataset, 'shape bias' AS headline,
    'share' AS unit, shape_bias AS value, low, high, decided AS counted
FROM shape_bias
WHERE decided > 0 AND NOT of_stylized_images
UNION ALL BY NAME
SELECT
    8 AS row_place, model, dataset, format('Jaccard index, {} token, as the authors', token) AS headline,
    'share' AS unit, jaccard AS value, low, high, images AS counted
FROM segmentation_scores
WHERE step = 1
UNION ALL BY NAME
SELECT
    9 AS row_place, model, dataset, 'correlation of features, half of the tiles dropped' AS headline,
    'number' AS unit, correlation AS value, low, high, images AS counted
FROM features_left
WHERE kind = 'image' AND level = 0.5
UNION ALL BY NAME
SELECT
    10 AS row_place, model, dataset, 'top-1 of a linear readout, last block' AS headline,
    'share' AS unit, top1 AS value, low, high, images AS counted
FROM transfer_scores
WHERE protocol = 'validated' AND blocks = 'last' AND patch = 'none'
UNION ALL BY NAME
SELECT
    11 AS row_place, model, dataset, format('{} accuracy, logistic regression, last block', setting) AS headline,
    'share' AS unit, accuracy AS value, low, high, episodes AS counted
FROM few_shot_scores
WHERE classifier = 'logistic' AND readout = 'last'
ORDER BY model, row_place, dataset, headline;

-- The curves that the card of a model shows: y, a share, against x.
CREATE TABLE sparklines AS
SELECT
    1 AS row_place, model, format('{}: top-1 over the share of pixels lost, {} tiles', dataset, variant) AS curve,
    lost AS x, top1 AS y
FROM accuracy
WHERE perturbation = 'random_drop' AND regexp_full_match(variant, '\d+x\d+')
UNION ALL BY NAME
SELECT
    2 AS row_place, model, format('{}: top-1 over the number of shuffled tiles', dataset) AS curve,
    level AS x, top1 AS y
FROM accuracy
WHERE perturbation = 'shuffle_grid'
UNION ALL BY NAME
SELECT
    3 AS row_place, model,
    if(held_out_top1 IS NULL, 'training: top-1 on its own images over epochs', 'training: held-out top-1 over epochs') AS curve,
    epoch AS x, coalesce(if(head = 'shape', held_out_shape_top1, held_out_top1), top1) AS y
FROM epochs
JOIN trainings USING (run)
WHERE coalesce(held_out_top1, top1) IS NOT NULL
ORDER BY model, row_place, curve, x;
