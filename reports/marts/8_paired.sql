-- All contrasts (7_contrasts.sql), image by image. The share of right decisions of each image is a mean over cells, so
-- the sum over images of the product of two such shares is a mean over pairs of cells, as in `agreements`.
INSERT INTO effects
WITH
    sides AS (
        SELECT dataset, model, perturbation, variant, level FROM contrasts
        UNION
        SELECT dataset, other_model, other_perturbation, other_variant, other_level FROM contrasts
    ),
    told AS (
        SELECT dataset, model, perturbation, variant, round(level::DOUBLE, 6) AS level, clean, hits, images
        FROM decided
        JOIN asked USING (dataset, model, perturbation, variant, level, seed)
    ),
    parts AS (
        SELECT sides.*, hits, images
        FROM sides
        JOIN told AS t USING (dataset, model, perturbation, variant)
        WHERE sides.level = t.level OR (sides.level IS NULL AND NOT clean)
    ),
    own AS (
        SELECT
            a.dataset, a.model, a.perturbation, a.variant, a.level,
            avg(coalesce(bit_count(a.hits), 0)) AS hits,
            avg(coalesce(bit_count(a.hits & b.hits), 0)) AS squares,
            max(a.images) AS images,
            count(*) AS pairs
        FROM parts AS a
        JOIN parts AS b
            ON b.dataset = a.dataset AND b.model = a.model AND b.perturbation = a.perturbation AND b.variant = a.variant
            AND b.level IS NOT DISTINCT FROM a.level
        GROUP BY ALL
    ),
    products AS (
        SELECT c.*, avg(coalesce(bit_count(a.hits & b.hits), 0)) AS product
        FROM contrasts AS c
        JOIN parts AS a
            ON a.dataset = c.dataset AND a.model = c.model AND a.perturbation = c.perturbation AND a.variant = c.variant
            AND a.level IS NOT DISTINCT FROM c.level
        JOIN parts AS b
            ON b.dataset = c.dataset AND b.model = other_model AND b.perturbation = other_perturbation
            AND b.variant = other_variant AND b.level IS NOT DISTINCT FROM other_level
        GROUP BY ALL
    ),
    compared AS (
        SELECT
            claim, about, changed, a.images,
            a.hits, b.hits AS other_hits,
            a.hits - b.hits AS total,
            a.squares + b.squares - 2 * product AS squares,
            (a.hits + b.hits - 2 * product) / a.images AS share_changed
        FROM products AS p
        JOIN own AS a
            ON a.dataset = p.dataset AND a.model = p.model AND a.perturbation = p.perturbation AND a.variant = p.variant
            AND a.level IS NOT DISTINCT FROM p.level
        JOIN own AS b
            ON b.dataset = p.dataset AND b.model = other_model AND b.perturbation = other_perturbation
            AND b.variant = other_variant AND b.level IS NOT DISTINCT FROM other_level
        -- Means over all levels need as many of each, some of which a model may refuse.
        WHERE p.level IS NOT NULL OR a.pairs = b.pairs
    )
SELECT
    claim, about,
    100 * if(changed, share_changed, total / images),
    100 * if(changed, wilson_low(share_changed, images), greatest(-1, paired(total, squares, images, -1))),
    100 * if(changed, wilson_high(share_changed, images), least(1, paired(total, squares, images, 1))),
    images,
    in_percent(hits / images, other_hits / images)
FROM compared;
