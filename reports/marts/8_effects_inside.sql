-- Claims about features, tokens and attention. Two numbers of each image are compared, so the interval is that of a
-- mean difference; a single number is compared with nothing.
INSERT INTO effects
WITH
    -- With half of the patches dropped: correlations over seeds, and what they are with any other image.
    correlations AS (
        SELECT dataset, model, index AS image, avg(value) AS correlation
        FROM information_loss
        WHERE kind = 'image' AND level = 0.5 AND value IS NOT NULL
        GROUP BY ALL
    ),
    with_others AS (
        SELECT dataset, model, avg(value) AS other FROM information_loss WHERE kind = 'other' AND level = 0.5 GROUP BY ALL
    ),
    -- The share of attention on what a mask leaves, and, of the same places, on untouched images.
    visible AS (
        SELECT dataset, model, token, image, block, occluded, untouched
        FROM attention
        ANTI JOIN networks AS n ON n.model = attention.model AND n.untrained
        WHERE kind = 'visible' AND image IS NOT NULL -- each head is told as a mean over images, too
    ),
    last_visible AS (
        FROM visible
        SEMI JOIN (SELECT dataset, model, max(block) AS block FROM visible GROUP BY ALL) USING (dataset, model, block)
    ),
    deeper AS (
        SELECT
            format('{} token of {} on {}', token, model, dataset) AS about,
            deep.occluded, deep.untouched, first.occluded AS first_occluded, first.untouched AS first_untouched
        FROM last_visible AS deep
        JOIN visible AS first USING (dataset, model, token, image)
        WHERE first.block = 1 AND deep.block > 1
    ),
    -- As the authors count the Jaccard index.
    segmented AS (
        SELECT s.*, k.untrained, k.model_family, k.data
        FROM segmentation_images AS s
        JOIN known_models AS k USING (model)
        WHERE step = 1
    ),
    cosines AS (
        FROM token_similarity
        SEMI JOIN (SELECT dataset, model, max(block) AS block FROM token_similarity GROUP BY ALL)
            USING (dataset, model, block)
    ),
    each_image (claim, about, one, another) AS (
        SELECT 'correlation', format('{} against {} on {}', v.model, c.model, dataset), v.correlation, c.correlation
        FROM vits_and_cnns AS p
        JOIN correlations AS v USING (model)
        JOIN correlations AS c USING (dataset, image)
        WHERE c.model = p.other
        UNION ALL
        SELECT
            'correlation_beyond', format('{} against {} on {}', v.model, c.model, dataset),
            v.correlation - v_others.other, c.correlation - c_others.other
        FROM vits_and_cnns AS p
        JOIN correlations AS v USING (model)
        JOIN correlations AS c USING (dataset, image)
        JOIN with_others AS v_others ON v_others.dataset = v.dataset AND v_others.model = v.model
        JOIN with_others AS c_others ON c_others.dataset = c.dataset AND c_others.model = c.model
        WHERE c.model = p.other
        UNION ALL
        SELECT 'attention_visible', format('{} token of {} on {}', token, model, dataset), occluded, untouched
        FROM last_visible
        UNION ALL
        SELECT 'attention_deeper', about, occluded, first_occluded FROM deeper
        UNION ALL
        SELECT
            'attention_deeper', about || ', beyond untouched images',
            occluded - untouched, first_occluded - first_untouched
        FROM deeper
        UNION ALL
        SELECT 'token_cosine', format('{} on {}', model, dataset), cosine, 0 FROM cosines
        UNION ALL
        SELECT
            'segmentation_trained', format('{} against {} on {}', t.model, r.model, dataset), t.jaccard, r.jaccard
        FROM segmented AS t
        JOIN segmented AS r USING (dataset, image, token)
        WHERE token = 'class' AND r.untrained AND NOT t.untrained
        UNION ALL
        SELECT
            'segmentation_stylized', format('{} against {} on {}', s.model, n.model, dataset), s.jaccard, n.jaccard
        FROM twins
        JOIN segmented AS s ON s.model = stylized_model
        JOIN segmented AS n USING (dataset, image, token)
        WHERE n.model = natural_model AND token = 'class'
        UNION ALL
        SELECT
            'segmentation_student', format('{} against {} on {}', s.model, n.model, dataset), s.jaccard, n.jaccard
        FROM segmented AS s
        SEMI JOIN taught USING (model)
        JOIN segmented AS n USING (dataset, image, token)
        WHERE n.model_family = 'vit' AND same_data(s.data, n.data) AND token = 'class'
        UNION ALL
        SELECT 'segmentation_shape_token', format('{} on {}', s.model, dataset), s.jaccard, c.jaccard
        FROM segmented AS s
        JOIN segmented AS c USING (dataset, model, image)
        WHERE s.token = 'shape' AND c.token = 'class'
        UNION ALL
        SELECT 'segmentation_random', format('{} token of {} on {}', token, model, dataset), jaccard, random
        FROM segmented
        WHERE NOT untrained
        UNION ALL
        SELECT 'foreground', format('{} on {}', model, dataset), avg(jaccard), avg(random)
        FROM foreground
        ANTI JOIN networks AS n ON n.model = foreground.model AND n.untrained
        GROUP BY dataset, model, image
    ),
    compared AS (
        SELECT
            claim, about,
            avg(one - another) AS effect,
            mean_margin(one - another) AS margin,
            count(*) AS sampled,
            if(claim = 'token_cosine', NULL, in_numbers(avg(one), avg(another))) AS numbers
        FROM each_image
        GROUP BY claim, about
    )
SELECT claim, about, effect, effect - margin, effect + margin, sampled, numbers
FROM compared;

-- Deeper blocks attend to what is left only if they do so both in themselves and against untouched images: what is less
-- counts.
DELETE FROM effects AS e
USING effects AS less
WHERE
    e.claim = 'attention_deeper' AND less.claim = e.claim
    AND (less.about = e.about || ', beyond untouched images' OR e.about = less.about || ', beyond untouched images')
    AND (less.effect, less.about) < (e.effect, e.about);

-- By superclass, from the intervals of both models.
INSERT INTO effects
SELECT
    'correlation_groups',
    format('{} against {} on {}, {}', v.model, c.model, dataset, class_group),
    v.correlation - c.correlation,
    apart_low(v.correlation, v.low, c.correlation, c.high),
    apart_high(v.correlation, v.high, c.correlation, c.low),
    least(v.images, c.images),
    in_numbers(v.correlation, c.correlation)
FROM vits_and_cnns AS p
JOIN features_left_by_group AS v USING (model)
JOIN features_left_by_group AS c USING (dataset, level, class_group)
WHERE c.model = p.other AND level = 0.5 AND v.low IS NOT NULL AND c.low IS NOT NULL;

-- The class token of the last block and of the one in the middle, through the network's own head.
INSERT INTO effects
WITH
    told AS (
        SELECT dataset, model, image, block, rank = 0 AS is_right, max(block) OVER (PARTITION BY dataset, model) AS blocks
        FROM block_accuracy
    )
SELECT
    'blocks',
    format('{} on {}, block {} against {}', model, dataset, blocks, blocks // 2),
    100 * avg(d), 100 * paired_low(d), 100 * paired_high(d), count(*), in_percent(avg(one), avg(another))
FROM (
    SELECT
        dataset, model, deep.blocks, deep.is_right::INT AS one, middle.is_right::INT AS another, one - another AS d
    FROM told AS deep
    JOIN told AS middle USING (dataset, model, image)
    WHERE deep.block = deep.blocks AND middle.block = deep.blocks // 2
)
GROUP BY dataset, model, blocks;
