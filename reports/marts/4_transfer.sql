-- What linear classifiers learn from frozen features. `dataset` is the name of a transfer. How good it is by chance
-- is told as if its classes were equally frequent.
CREATE MACRO readout_in_words(blocks, block, patch) AS
    CASE blocks
        WHEN 'last' THEN 'last block' WHEN 'block' THEN 'block ' || block
        WHEN 'last4' THEN 'last 4 blocks' ELSE 'all blocks'
    END
    || CASE patch WHEN 'none' THEN '' WHEN 'last' THEN ' + last patch mean' ELSE ' + patch means' END;

-- How good each readout is on test images, with Wilson intervals. `dataset` is the name of a transfer.
CREATE TABLE transfer_scores AS
SELECT
    dataset, model, place, protocol, blocks, block, patch,
    readout_in_words(blocks, block, patch) AS readout,
    width, parameters, classes, penalty, validation_top1, last_top1,
    1 / classes AS chance,
    top1,
    wilson_low(top1, images) AS low,
    wilson_high(top1, images) AS high,
    train_images, images
FROM probe
JOIN places USING (model)
ORDER BY
    dataset, place, protocol,
    list_position(['last', 'block', 'last4', 'all'], blocks), block, list_position(['none', 'last', 'each'], patch);

-- Whether each test image is named rightly.
CREATE TABLE transfer_decisions AS
SELECT
    dataset, model, protocol, blocks, block, patch,
    unnest(correct)::INT AS is_correct,
    generate_subscripts(correct, 1) AS image
FROM probe;

CREATE MACRO paired_low(d) AS paired(sum(d), sum(d * d), count(*), -1);
CREATE MACRO paired_high(d) AS paired(sum(d), sum(d * d), count(*), 1);

-- What a readout gains over that of the last block's class token, or of what the head of a CNN sees.
CREATE TABLE transfer_gains AS
SELECT
    dataset, model, protocol, own.blocks, own.block, own.patch,
    avg(own.is_correct) AS top1,
    avg(last.is_correct) AS other_top1,
    avg(own.is_correct - last.is_correct) AS gain,
    paired_low(own.is_correct - last.is_correct) AS low,
    paired_high(own.is_correct - last.is_correct) AS high,
    count(*) AS images
FROM transfer_decisions AS own
JOIN transfer_decisions AS last USING (dataset, model, protocol, image)
WHERE last.blocks = 'last' AND last.patch = 'none' AND NOT (own.blocks = 'last' AND own.patch = 'none')
GROUP BY ALL;

-- The last block of each model against that of the reference.
CREATE TABLE transfer_compared AS
SELECT
    dataset, own.model,
    avg(own.is_correct) AS top1,
    avg(other.is_correct) AS of_reference,
    avg(own.is_correct - other.is_correct) AS gain,
    paired_low(own.is_correct - other.is_correct) AS low,
    paired_high(own.is_correct - other.is_correct) AS high,
    count(*) AS images
FROM transfer_decisions AS own
JOIN transfer_decisions AS other USING (dataset, protocol, blocks, patch, image)
WHERE
    protocol = 'validated' AND blocks = 'last' AND patch = 'none'
    AND other.model = getvariable('reference') AND own.model <> other.model
GROUP BY ALL;

-- Numbers of the paper, for transfers that have the name and the classes of its datasets.
CREATE TABLE transfer_published AS
SELECT
    s.dataset,
    regexp_replace(p.model, ' \(.*', '') AS model,
    CASE
        WHEN p.model LIKE '%ensemble%' OR condition LIKE 'blocks 9-12%' THEN 'last4'
        WHEN condition LIKE 'blocks 1-12%' THEN 'all'
        ELSE 'last'
    END AS blocks,
    if(condition LIKE '%patch%', 'last', 'none') AS patch,
    readout_in_words(blocks, NULL, patch) AS readout,
    value::DOUBLE / 100 AS top1,
    if(experiment = 'off_the_shelf_ablation', 'table 5 of the paper', 'figure 16 of the paper') AS source
FROM published AS p
JOIN (SELECT DISTINCT dataset, classes FROM transfer_scores) AS s
    ON s.dataset = lower(p.dataset) OR (s.dataset = 'inaturalist2019' AND p.dataset = 'iNaturalist')
JOIN (
    VALUES
        ('aircraft', 100), ('cub', 200), ('dtd', 47), ('flowers102', 102), ('fungi', 1394), ('gtsrb', 43),
        ('inaturalist2019', 1010), ('places365', 365)
) AS known (name, known_classes) ON name = s.dataset AND known_classes = s.classes
WHERE experiment IN ('off_the_shelf_ablation', 'off_the_shelf_classification') AND metric = 'top1';

-- The same of the models that the config says to be the paper's; where two places of it tell of one readout, the table.
CREATE TABLE transfer_compared_with_paper AS
SELECT p.dataset, name AS model, readout, arg_max(top1, p.source) AS published
FROM transfer_published AS p
JOIN published_as AS a ON a.kind = 'model' AND a.published = p.model
GROUP BY ALL;
