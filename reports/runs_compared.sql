-- What is compared of two runs beside the accuracy of cells. A number is the sum of `part` over the sum of `whole`, a
-- mean or, of shape bias, a ratio; a row is what it is taken over, an image or an episode, whose `unit` is the same in
-- both runs. A level is NaN, which equals itself, where there is none.
SELECT
    'shape bias' AS measure, dataset, observer AS model, '' AS variant, 'nan'::DOUBLE AS level, hash(stimulus) AS unit,
    coalesce(answer = shape_class, false)::DOUBLE AS part,
    coalesce(answer IN (shape_class, texture_class), false)::DOUBLE AS whole
FROM cue_decisions
WHERE kind = 'model'
UNION ALL
SELECT 'foreground', dataset, model, 'mean over shares of attention', 'nan'::DOUBLE, hash(image), avg(jaccard), 1
FROM foreground
GROUP BY dataset, model, image
UNION ALL
SELECT 'segmentation', dataset, model, concat_ws(', ', way, token || ' token'), 'nan'::DOUBLE, hash(image), jaccard, 1
FROM segmentation_images
UNION ALL
SELECT 'information loss', dataset, model, 'patches dropped', round(level::DOUBLE, 6), hash(index), avg(value), 1
FROM information_loss
WHERE kind = 'image'
GROUP BY dataset, model, level, index
HAVING count(value) > 0
UNION ALL
SELECT 'block accuracy', dataset, model, 'block', block, hash(image), (rank = 0)::DOUBLE, 1
FROM block_accuracy
UNION ALL
SELECT
    'transfer', dataset, model, concat_ws(', ', readout_in_words(blocks, block, patch), protocol), 'nan'::DOUBLE, hash(image),
    is_correct, 1
FROM transfer_decisions
UNION ALL
SELECT
    'few-shot', dataset, model, concat_ws(', ', setting, readout, classifier), 'nan'::DOUBLE, hash(seed, episode),
    accuracy::DOUBLE, 1
FROM few_shot;
