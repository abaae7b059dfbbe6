-- What each job took that has made what the warehouse reads. Where its last run took a strip from the store, the time is
-- that of the job which computed it, as far as one has told. Shards count only as long as they are of these very cells.
-- Images per second are images times cells of strips, images trained on of trainings, and images of the dataset in all
-- of the job's time of others.
CREATE TABLE costs AS
WITH
    asked_passes AS (
        SELECT
            dataset, model, perturbation, variant,
            any_value(family) AS family,
            count(*) * any_value(images) AS passes_asked
        FROM asked
        JOIN datasets USING (dataset)
        GROUP BY ALL
    ),
    of_strips AS (
        SELECT
            dataset, model, perturbation, variant,
            sum(passes) AS passes_with_shards
        FROM jobs
        WHERE variant IS NOT NULL
        GROUP BY ALL
    ),
    trained AS (
        SELECT run, sum(images_per_second * seconds) / sum(seconds) AS images_per_second FROM epochs GROUP BY run
    )
SELECT
    study, rule,
    -- Of the figures that show it.
    coalesce(
        family,
        measure,
        CASE rule
            WHEN 'probe' THEN 'transfer' WHEN 'few_shot' THEN 'few_shot' WHEN 'train_stage' THEN 'training'
            WHEN 'map_saliency' THEN 'saliency' WHEN 'score_foreground' THEN 'saliency'
        END
    ) AS family,
    dataset, model, perturbation, variant, measure, run, part, device,
    CASE WHEN copied_from IS NULL THEN greatest(job_seconds, passes_seconds) END AS seconds,
    CASE WHEN copied_from IS NULL AND coalesce(passes_seconds <= job_seconds, true) THEN cpu_seconds END AS cpu_seconds,
    memory_mb,
    CASE
        WHEN passes > 0 THEN passes / nullif(passes_seconds, 0)
        WHEN rule = 'train_stage' THEN trained.images_per_second
        WHEN rule IN ('measure', 'extract_tokens', 'map_saliency', 'pack_images') THEN images / nullif(job_seconds, 0)
    END AS images_per_second,
    CASE
        WHEN copied_from IS NOT NULL THEN 'copied from ' || copied_from
        WHEN job_seconds IS NULL AND passes_seconds IS NULL THEN 'not recorded'
        WHEN rule = 'predict' AND passes_seconds > job_seconds THEN 'all was stored; time of when it was computed'
        WHEN rule = 'predict' AND passes_with_shards IS NULL THEN 'computing is not recorded'
        WHEN rule = 'predict' AND passes_with_shards < passes_asked THEN format(
            '{:,} of {:,} passes; the others were stored', passes_with_shards::BIGINT, passes_asked::BIGINT
        )
    END AS note
FROM jobs
LEFT JOIN asked_passes USING (dataset, model, perturbation, variant)
LEFT JOIN of_strips USING (dataset, model, perturbation, variant)
LEFT JOIN trained USING (run)
LEFT JOIN datasets USING (dataset)
WHERE rule <> 'predict_shard' OR passes_with_shards <= passes_asked
ORDER BY study, rule, dataset, model, perturbation, variant, measure, part;

-- The same for each study, for what several studies share, for each family of figures, for each rule, and in all. Hours are those that jobs took;
-- CPU hours are of all of their threads, of jobs that told them.
CREATE TABLE cost_totals AS
SELECT
    CASE
        WHEN grouping(study) = 0 THEN 'study' WHEN grouping(family) = 0 THEN 'family'
        WHEN grouping(rule) = 0 THEN 'rule' ELSE 'all'
    END AS per,
    coalesce(study, family, rule, 'together') AS name,
    count(*) AS jobs,
    count(seconds) AS recorded,
    coalesce(sum(seconds), 0) / 3600 AS hours,
    coalesce(sum(seconds) FILTER (device <> 'cpu'), 0) / 3600 AS gpu_hours,
    coalesce(sum(seconds) FILTER (device IS NULL), 0) / 3600 AS unknown_hours,
    sum(cpu_seconds) / 3600 AS cpu_hours,
    max(memory_mb) AS memory_mb,
    arg_max(concat_ws(' ', rule, dataset, model, perturbation, variant, measure, part), seconds) AS dearest,
    max(seconds) AS dearest_seconds
FROM (SELECT * REPLACE (coalesce(study, '(shared)') AS study, coalesce(family, '(none)') AS family) FROM costs)
GROUP BY GROUPING SETS ((study), (family), (rule), ())
ORDER BY per, hours DESC, name;
