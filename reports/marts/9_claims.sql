-- The verdict: whether an interval lies on the side of a threshold that a claim says.
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

CREATE TEMP TABLE written_claims AS
SELECT row_number() OVER () AS place, * REPLACE (threshold::DOUBLE AS threshold)
FROM read_csv(getvariable('claims'), all_varchar = true);

-- What was compared for each claim, each comparison with a verdict of its own, by its interval alone.
CREATE TABLE claim_comparisons AS
SELECT
    place, effects.claim, about, effect, low, high, sampled, numbers,
    verdict(low, high, threshold, side) AS verdict
FROM effects
JOIN written_claims ON key = effects.claim
ORDER BY place, about;

-- A row for each claim. Of several comparisons it tells the mean effect, between the mean of the lows and the mean of
-- the highs: an interval that holds however the comparisons depend on each other, as its half is at least that of their
-- mean. The interval is plain; verdicts are corrected by Holm for the number of claims that were measured.
CREATE TABLE claims AS
WITH
    means AS (
        SELECT
            place, key, side, threshold,
            avg(effect) AS effect, avg(c.low) AS low, avg(c.high) AS high,
            min(sampled) AS sampled_least, max(sampled) AS sampled_most,
            count(*) AS comparisons,
            count(*) FILTER (verdict = 'supported') AS supporting
        FROM written_claims
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
FROM written_claims AS w
LEFT JOIN corrected USING (place, key)
ORDER BY place;
