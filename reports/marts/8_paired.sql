-- All contrasts (7_contrasts.sql), image by image. The share of right decisions of each image is a mean over cells, so
-- the sum over images of the product of two such shares is a mean over pairs of cells, as in `agreements`.
INSERT INTO effects
WITH
    pairs AS (
        SELECT
            claim, about, changed,
            {dataset: dataset, model: model, perturbation: perturbation, variant: variant, level: level} AS one,
            {
                dataset: dataset, model: other_model, perturbation: other_perturbation, variant: other_variant,
                level: other_level
            } AS other
        FROM contrasts
    ),
    sides AS (SELECT one AS side FROM pairs UNION SELECT other FROM pairs),
    parts AS (
        SELECT side, hits, images
        FROM sides
        JOIN (FROM decided JOIN asked USING (dataset, model, perturbation, variant, level, seed)) AS d
            ON d.dataset = side.dataset AND d.model = side.model AND d.perturbation = side.perturbation
            AND d.variant = side.variant AND if(side.level IS NULL, NOT d.clean, side.level = round(d.level::DOUBLE, 6))
    ),
    -- Each with the other, and with itself.
    met AS (
        SELECT
            met.one, met.other,
            shared(a.hits, a.hits) AS hits,
            shared(a.hits, b.hits) AS products,
            max(a.images) AS images,
            count(*) AS pairs
        FROM (SELECT one, other FROM pairs UNION SELECT side, side FROM sides) AS met
        JOIN parts AS a ON a.side = met.one
        JOIN parts AS b ON b.side = met.other
        GROUP BY ALL
    ),
    compared AS (
        SELECT
            claim, about, changed, a.images, a.hits, b.hits AS other_hits,
            a.hits - b.hits AS total,
            a.products + b.products - 2 * met.products AS squares,
            (a.hits + b.hits - 2 * met.products) / a.images AS share_changed
        FROM pairs
        JOIN met USING (one, other)
        JOIN met AS a ON a.one = pairs.one AND a.other = pairs.one
        JOIN met AS b ON b.one = pairs.other AND b.other = pairs.other
        -- Means over all levels need as many of each, some of which a model may refuse.
        WHERE pairs.one.level IS NOT NULL OR a.pairs = b.pairs
    )
SELECT
    claim, about,
    100 * if(changed, share_changed, total / images),
    100 * if(changed, wilson_low(share_changed, images), greatest(-1, paired(total, squares, images, -1))),
    100 * if(changed, wilson_high(share_changed, images), least(1, paired(total, squares, images, 1))),
    images,
    in_percent(hits / images, other_hits / images)
FROM compared;
