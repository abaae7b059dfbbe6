-- Every query must find nothing. The comment above it is what one reads when it does. Rows are read again of strips
-- only that are `doubtful` (reports/marts/1_accuracy.sql), so a new check of rows has to count there, too.

-- A prediction has a missing value.
SELECT * FROM predictions
SEMI JOIN doubtful USING (dataset, model, perturbation, variant)
WHERE is_incomplete(level, seed, image, label, pred, rank, prob, confidence, lost);

-- A cell (level, seed) that the config asks for is missing, or one is there that nothing asks for. If results
-- were copied from elsewhere: snakemake --forcerun predict.
SELECT
    dataset, model, perturbation, variant, level, seed,
    CASE WHEN decisions IS NULL THEN 'missing' ELSE 'not asked for' END AS problem
FROM cells
FULL JOIN asked USING (dataset, model, perturbation, variant, level, seed)
WHERE decisions IS NULL OR clean IS NULL;

-- A strip has predictions of images that its dataset does not have.
SELECT DISTINCT dataset, model, perturbation, variant, image
FROM predictions
SEMI JOIN doubtful USING (dataset, model, perturbation, variant)
ANTI JOIN images USING (dataset, image);

-- A cell does not have exactly one prediction for each image of its dataset.
SELECT
    dataset, model, perturbation, variant, level, seed,
    cells.decisions, cells.images AS images_seen, datasets.images AS images_in_dataset
FROM cells
LEFT JOIN datasets USING (dataset)
WHERE cells.decisions IS DISTINCT FROM datasets.images OR cells.images IS DISTINCT FROM datasets.images;

-- A prediction was compared with another label than the image has.
SELECT DISTINCT dataset, model, perturbation, variant, image, p.label, i.label AS label_in_dataset
FROM predictions AS p
SEMI JOIN doubtful USING (dataset, model, perturbation, variant)
JOIN images AS i USING (dataset, image)
WHERE p.label <> i.label;

-- A model sees the same untouched image in two ways. (Decisions may differ where two classes are all but tied:
-- another batch size or device rounds otherwise.)
SELECT dataset, model, image, list(DISTINCT pred) AS preds, list(DISTINCT prob) AS probs
FROM predictions
SEMI JOIN (FROM asked WHERE clean) USING (dataset, model, perturbation, variant, level, seed)
GROUP BY dataset, model, image
HAVING max(prob) - min(prob) > 0.05 OR max(confidence) - min(confidence) > 0.05;

-- The rank of the true class is 0 exactly if the prediction is right, and never negative.
SELECT dataset, model, perturbation, variant, level, seed, image, label, pred, rank
FROM predictions
SEMI JOIN doubtful USING (dataset, model, perturbation, variant)
WHERE is_misranked(rank, pred, label);

-- A probability is outside 0 to 1, or the true class is more probable than the predicted one.
SELECT dataset, model, perturbation, variant, level, seed, image, prob, confidence
FROM predictions
SEMI JOIN doubtful USING (dataset, model, perturbation, variant)
WHERE is_improbable(prob, confidence);

-- A share of lost pixels or tokens is outside 0 to 1, or an untouched image has lost some.
SELECT dataset, model, perturbation, variant, level, seed, image, lost, tokens_lost, tokens_cut
FROM predictions
SEMI JOIN doubtful USING (dataset, model, perturbation, variant)
JOIN asked USING (dataset, model, perturbation, variant, level, seed)
WHERE is_no_share(lost, tokens_lost, tokens_cut) OR (clean AND all_lost(lost, tokens_lost, tokens_cut) <> 0);

-- The top-1 of a linear readout is not the share of its right decisions, or readouts were tested on different images.
SELECT dataset, model, protocol, blocks, block, patch, top1, images, len(correct) AS decisions
FROM probe
QUALIFY
    len(correct) <> images
    OR abs(top1 - list_avg(correct::INT[])) > 1e-6
    OR images <> max(images) OVER (PARTITION BY dataset);

-- The few-shot episodes of a model are not those of the others, or an accuracy is outside 0 to 1.
SELECT
    dataset, model, setting, seed, readout, classifier, count(*) AS episodes, max(accuracy) AS highest,
    bit_xor(hash(episode, ways, supports, queries)) AS drawn
FROM few_shot
GROUP BY dataset, model, setting, seed, readout, classifier
QUALIFY
    drawn <> first(drawn) OVER (PARTITION BY dataset, setting, seed ORDER BY model)
    OR highest NOT BETWEEN 0 AND 1;
