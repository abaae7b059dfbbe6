-- How often classifiers are right that learn from a few images. `dataset` is the name of an entry of few_shots.
-- Episodes are what was sampled: means and intervals are over those of all seeds, differences to the reference over
-- pairs, since all models see the same episodes.
CREATE TABLE few_shot_scores AS
WITH
    others AS (
        SELECT * EXCLUDE (model, accuracy), accuracy AS accuracy_of_reference
        FROM few_shot
        WHERE model = getvariable('reference')
    ),
    paired_episodes AS (
        SELECT
            f.*,
            f.accuracy::DOUBLE AS share,
            CASE WHEN model <> getvariable('reference') THEN share - accuracy_of_reference END AS difference
        FROM few_shot AS f
        LEFT JOIN others USING (dataset, setting, readout, classifier, seed, episode)
    )
SELECT
    dataset, model, place, setting, readout, classifier,
    if(readout = 'last', 'last block', 'last 4 blocks') AS readout_in_words,
    if(classifier = 'centroid', 'nearest centroid', 'logistic regression') AS classifier_in_words,
    avg(1 / ways) AS chance,
    avg(share) AS accuracy,
    share_low(share) AS low,
    share_high(share) AS high,
    avg(difference) AS difference,
    avg(difference) - mean_margin(difference) AS difference_low,
    avg(difference) + mean_margin(difference) AS difference_high,
    avg(ways) AS ways,
    avg(supports) AS supports,
    avg(queries) AS queries,
    count(*) AS episodes,
    count(DISTINCT seed) AS seeds
FROM paired_episodes
JOIN places USING (model)
GROUP BY dataset, model, place, setting, readout, classifier
ORDER BY dataset, setting, readout, classifier DESC, place;
