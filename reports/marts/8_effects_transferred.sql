-- Claims about what frozen features are good for elsewhere, on the same test images or in the same episodes.
INSERT INTO effects
WITH
    families AS (SELECT model, model_family FROM known_models),
    each_image (claim, about, one, another) AS (
        SELECT 'transfer', format('{} against {} on {}', v.model, c.model, dataset), v.is_correct, c.is_correct
        FROM vits_and_cnns AS p
        JOIN transfer_decisions AS v USING (model)
        JOIN transfer_decisions AS c USING (dataset, protocol, blocks, patch, image)
        WHERE c.model = p.other AND protocol = 'validated' AND blocks = 'last' AND patch = 'none'
        UNION ALL
        SELECT
            'transfer_statistics', format('{} on {}', model, dataset), own.is_correct, batch.is_correct
        FROM transfer_decisions AS own
        JOIN transfer_decisions AS batch USING (dataset, model, blocks, patch, image)
        WHERE
            blocks = 'last' AND patch = 'none'
            AND own.protocol = 'authors' AND batch.protocol = 'authors, batch statistics'
    )
SELECT
    claim, about, 100 * avg(one - another), 100 * paired_low(one - another), 100 * paired_high(one - another),
    count(*), in_percent(avg(one), avg(another))
FROM each_image
GROUP BY claim, about
UNION ALL
SELECT
    if(patch = 'none', 'transfer_blocks', 'transfer_patches'),
    format('{} of {} on {}', readout_in_words(blocks, block, patch), model, dataset),
    100 * gain, 100 * low, 100 * high, images, in_percent(top1, other_top1)
FROM transfer_gains
JOIN families USING (model)
WHERE
    model_family = 'vit' AND protocol = 'validated'
    AND ((blocks IN ('last4', 'all') AND patch = 'none') OR (blocks = 'last' AND patch = 'last'));

-- Of the last block, by logistic regression, as the paper does it.
INSERT INTO effects
SELECT
    'few_shot', about, 100 * avg(one - another), 100 * (avg(one - another) - mean_margin(one - another)),
    100 * (avg(one - another) + mean_margin(one - another)), count(*), in_percent(avg(one), avg(another))
FROM (
    SELECT
        format('{} against {} on {}, {}', v.model, c.model, dataset, setting) AS about,
        v.accuracy::DOUBLE AS one, c.accuracy::DOUBLE AS another
    FROM vits_and_cnns AS p
    JOIN few_shot AS v USING (model)
    JOIN few_shot AS c USING (dataset, setting, readout, classifier, seed, episode)
    WHERE c.model = p.other AND readout = 'last' AND classifier = 'logistic'
)
GROUP BY about;
