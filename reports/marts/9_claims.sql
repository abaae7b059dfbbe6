-- Shares of right decisions, image by image, of all contrasts. The share of each image is a mean over cells, so the sum
-- over images of the product of two such shares is a mean over pairs of cells, as in `agreements`.
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

-- THE verdict: whether an interval lies on the side of a threshold that a claim says.
CREATE MACRO verdict(low, high, threshold, side) AS CASE
    WHEN low IS NULL OR high IS NULL THEN 'not measured'
    WHEN if(side = 'above', low > threshold, high < threshold) THEN 'supported'
    WHEN if(side = 'above', high < threshold, low > threshold) THEN 'not supported'
    ELSE 'cannot tell'
END;

-- How likely a result as far from the threshold is if the truth is the threshold: by the normal approximation, from the
-- half of the 95 % interval that lies towards it.
CREATE MACRO p_value(effect, low, high, threshold) AS two_sided_p(
    CASE
        WHEN effect = threshold THEN 0
        ELSE 1.959963984540054 * (effect - threshold) / if(effect > threshold, effect - low, high - effect)
    END
);

CREATE TABLE claim_comparisons AS
SELECT
    c.place, claim, about, effect, low, high, sampled, numbers,
    verdict(low, high, threshold, side) AS verdict
FROM effects
JOIN (
    SELECT row_number() OVER () AS place, key AS claim, side, threshold::DOUBLE AS threshold
    FROM read_csv(getvariable('claims'), all_varchar = true)
) AS c USING (claim)
ORDER BY place, about;

-- A row for each claim. Of several comparisons it tells the mean effect, between the mean of the lows and the mean of the
-- highs: an interval that holds however the comparisons depend on each other, as its half is at least that of their mean.
-- Beside the plain interval, verdicts are corrected by Holm for the number of claims that were measured.
CREATE TABLE claims AS
WITH
    written AS (
        SELECT row_number() OVER () AS place, * REPLACE (threshold::DOUBLE AS threshold)
        FROM read_csv(getvariable('claims'), all_varchar = true)
    ),
    means AS (
        SELECT
            place, key, side, threshold,
            avg(effect) AS effect, avg(c.low) AS low, avg(c.high) AS high,
            min(sampled) AS sampled_least, max(sampled) AS sampled_most,
            count(*) AS comparisons,
            count(*) FILTER (verdict = 'supported') AS supporting
        FROM written
        JOIN claim_comparisons AS c USING (place)
        GROUP BY ALL
    ),
    ranked AS (
        SELECT
            *,
            p_value(effect, low, high, threshold) AS p,
            count(*) OVER () AS measured,
            row_number() OVER (ORDER BY p, place) AS p_rank
        FROM means
    ),
    corrected AS (
        SELECT
            * EXCLUDE (side, threshold, p_rank),
            least(1, max((measured - p_rank + 1) * p) OVER (ORDER BY p_rank)) AS p_corrected
        FROM ranked
    )
SELECT
    w.*, effect, low, high, sampled_least, sampled_most, p, p_corrected, measured,
    coalesce(comparisons, 0) AS comparisons,
    coalesce(supporting, 0) AS supporting,
    verdict(low, high, threshold, side) AS uncorrected,
    if(p_corrected > 0.05, 'cannot tell', uncorrected) AS verdict
FROM written AS w
LEFT JOIN corrected USING (place, key)
ORDER BY place;
