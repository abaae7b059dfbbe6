-- '0.62 (0.58 to 0.66)': a share and its interval.
CREATE MACRO in_numbers(share, low, high) AS format('{:.2f} ({:.2f} to {:.2f})', share, low, high);

-- Is a share above another? Only intervals that do not touch answer.
CREATE MACRO is_above(low, high, other_low, other_high) AS CASE
    WHEN low > other_high THEN 'yes' WHEN high < other_low THEN 'no' ELSE 'cannot tell'
END;

-- The same of a difference and its margin: in numbers, and is it above 0?
CREATE MACRO with_margin(difference, margin) AS in_numbers(difference, difference - margin, difference + margin);
CREATE MACRO is_positive(difference, margin) AS is_above(difference - margin, difference + margin, 0, 0);

-- Is a texture hidden by stylizing? It is if it is answered less often than 1.5 times by chance, and more often
-- before.
CREATE MACRO is_hidden(low, high, low_before, chance) AS CASE
    WHEN low > 1.5 * chance THEN 'no'
    WHEN high < 1.5 * chance AND high < low_before THEN 'yes'
    ELSE 'cannot tell'
END;

-- What the trainings show, a row for each statement and what it is about.
CREATE TABLE findings AS
WITH
    biases AS (
        SELECT *, in_numbers(shape_bias, low, high) AS told
        FROM shape_bias
        WHERE decided > 0 AND NOT of_stylized_images
    ),
    -- The same network, trained in the same way once on images and once on what was stylized of them.
    twins AS (
        SELECT stylized_training.model AS stylized_model, natural_training.model AS natural_model
        FROM trainings AS stylized_training
        JOIN trainings AS natural_training
            ON natural_training.data = stylized_training.content
            AND natural_training.architecture = stylized_training.architecture
            AND natural_training.settings = stylized_training.settings
            AND natural_training.head IS NOT DISTINCT FROM stylized_training.head
        WHERE stylized_training.teacher IS NULL AND natural_training.teacher IS NULL
    ),
    raised AS (
        SELECT
            1 AS place,
            'Training on stylized images raises the shape bias' AS claim,
            format('{} against {} on {}', s.model, n.model, s.dataset) AS about,
            is_above(s.low, s.high, n.low, n.high) AS verdict,
            format('{} against {}; {} and {} decided images', s.told, n.told, s.decided, n.decided) AS numbers
        FROM twins
        JOIN biases AS s ON s.model = stylized_model
        JOIN biases AS n ON n.model = natural_model AND n.dataset = s.dataset
    ),
    distilled AS (
        SELECT
            b.dataset, run, architecture, settings, data, trainings.teacher, trainings.head,
            b.model, b.shape_bias, b.low, b.high, b.decided, b.told,
            t.shape_bias AS teacher_bias, t.low AS teacher_low, t.high AS teacher_high, t.told AS teacher_told
        FROM trainings
        JOIN biases AS b USING (model)
        JOIN biases AS t ON t.model = trainings.teacher AND t.dataset = b.dataset
    ),
    between_both AS (
        SELECT
            2 AS place,
            'The shape token lies between the class token and the teacher' AS claim,
            format('{} between {} and {} on {}', s.model, c.model, s.teacher, dataset) AS about,
            CASE
                WHEN s.low > c.high AND s.high < s.teacher_low THEN 'yes'
                WHEN s.high < c.low OR s.low > s.teacher_high THEN 'no'
                ELSE 'cannot tell'
            END AS verdict,
            format(
                'class {}, shape {}, teacher {}; {} and {} decided images of the tokens',
                c.told, s.told, s.teacher_told, c.decided, s.decided
            ) AS numbers
        FROM distilled AS s
        JOIN distilled AS c USING (dataset, run)
        WHERE s.head = 'shape' AND c.head = 'class'
    ),
    -- Two teachers of the same student, the one with the higher shape bias first.
    passed_on AS (
        SELECT
            3 AS place,
            'The teacher with the higher shape bias gives the shape token the higher one' AS claim,
            format('{} taught by {} against {} by {} on {}', m.model, m.teacher, l.model, l.teacher, dataset)
                AS about,
            CASE
                WHEN m.teacher_low > l.teacher_high THEN is_above(m.low, m.high, l.low, l.high)
                ELSE 'cannot tell'
            END AS verdict,
            format(
                '{} against {}; teachers {} against {}; {} and {} decided images of the tokens',
                m.told, l.told, m.teacher_told, l.teacher_told, m.decided, l.decided
            ) AS numbers
        FROM distilled AS m
        JOIN distilled AS l USING (dataset, architecture, settings, data, head)
        WHERE
            head = 'shape'
            AND (m.teacher_bias, m.teacher) > (l.teacher_bias, l.teacher)
    ),
    -- Of models that answer for the texture before.
    hidden AS (
        SELECT
            4 AS place,
            'Stylizing hides the texture' AS claim,
            format('{} on {}, which was stylized from {}', s.model, s.dataset, n.dataset) AS about,
            is_hidden(s.texture_low, s.texture_high, n.texture_low, s.chance) AS verdict,
            format(
                'texture answered {} against {} before; {} and {} images; chance is {:.2f}',
                in_numbers(s.texture_share, s.texture_low, s.texture_high),
                in_numbers(n.texture_share, n.texture_low, n.texture_high),
                s.images, n.images, s.chance
            ) AS numbers
        FROM shape_bias AS s
        JOIN stylized USING (dataset)
        JOIN shape_bias AS n ON n.dataset = stylized.content AND n.model = s.model
        JOIN trainings ON trainings.model = s.model
        WHERE NOT trainings.stylized AND trainings.teacher IS NULL AND n.texture_low > 1.5 * n.chance
    ),
    -- A dataset is labelled by texture if what its textures stand for is none of its classes.
    labels AS (
        SELECT dataset, coalesce(NOT bool_or(list_contains(names, texture_class)), false) AS are_textures
        FROM images
        JOIN (SELECT dataset, list(DISTINCT class_name) AS names FROM images GROUP BY dataset) USING (dataset)
        GROUP BY dataset
    ),
    scores AS (
        SELECT
            models.dataset, models.model, top1, low, high, images, chance, in_numbers(top1, low, high) AS told,
            stylized.content, trainings.* EXCLUDE (model, stylized, content), trainings.content AS data_content
        FROM models
        JOIN stylized USING (dataset)
        JOIN trainings USING (model)
        WHERE trainings.stylized AND trainings.teacher IS NULL AND dataset <> data
    ),
    -- The same network learns the textures of images, but not of what was stylized of them.
    unlearnable AS (
        SELECT
            5 AS place,
            'Stylizing hides the texture even from a network that learns to name it' AS claim,
            format('{} on {}, against {} on {}', s.model, s.dataset, n.model, n.dataset) AS about,
            is_hidden(s.low, s.high, n.low, s.chance) AS verdict,
            format(
                'texture named {} against {} before; {} and {} images; chance is {:.2f}',
                s.told, in_numbers(n.top1, n.low, n.high), s.images, n.images, s.chance
            ) AS numbers
        FROM scores AS s
        JOIN labels ON labels.dataset = s.dataset AND are_textures
        JOIN trainings AS natural_training
            ON natural_training.data = data_content
            AND natural_training.architecture = s.architecture
            AND natural_training.settings = s.settings
            AND natural_training.teacher IS NULL
        JOIN models AS n ON n.model = natural_training.model AND n.dataset = s.content
    ),
    readable AS (
        SELECT
            6 AS place,
            'Stylized images still tell the shape' AS claim,
            format('{} on {}', model, dataset) AS about,
            is_above(low, high, chance, chance) AS verdict,
            format('top-1 {} of {} images; chance is {:.2f}', told, images, chance) AS numbers
        FROM scores
        ANTI JOIN (FROM labels WHERE are_textures) USING (dataset)
    ),
    -- The correlation of features with half of the patches dropped, image by image, against the reference model; and
    -- beyond what it is with other images, because of what a model's features have in common whatever it sees.
    alike AS (
        SELECT dataset, model, index AS image, avg(value) AS correlation, any_value(other) AS other
        FROM information_loss
        JOIN (
            SELECT dataset, model, avg(value) AS other
            FROM information_loss
            WHERE kind = 'other' AND level = 0.5
            GROUP BY dataset, model
        ) USING (dataset, model)
        WHERE kind = 'image' AND level = 0.5 AND value IS NOT NULL
        GROUP BY dataset, model, index
    ),
    kept_features AS (
        SELECT
            8 AS place,
            'With half of the patches dropped, features stay more alike than those of the reference' AS claim,
            format('{} against {} on {}', model, reference, dataset) AS about,
            is_positive(least(apart, beyond), margin) AS verdict,
            format(
                'correlation {:.2f} against {:.2f}, difference {}; with other images {:.2f} and {:.2f}; {} images',
                correlation, of_reference, with_margin(apart, margin),
                other, other_of_reference, images
            ) AS numbers
        FROM (
            SELECT
                dataset, own.model, other.model AS reference,
                avg(own.correlation) AS correlation,
                avg(other.correlation) AS of_reference,
                any_value(own.other) AS other,
                any_value(other.other) AS other_of_reference,
                avg(own.correlation - other.correlation) AS apart,
                apart - (any_value(own.other) - any_value(other.other)) AS beyond,
                mean_margin(own.correlation - other.correlation) AS margin,
                count(*) AS images
            FROM alike AS own
            JOIN alike AS other USING (dataset, image)
            WHERE other.model = getvariable('reference') AND own.model <> other.model
            GROUP BY ALL
        )
    ),
    -- The class token in the first and the last block, image by image, under a mask and, of the same places,
    -- without one.
    looks AS (
        SELECT
            dataset, model, token, deep.block, count(*) AS images,
            avg(deep.occluded) AS share,
            avg(deep.untouched) AS control,
            avg(first.occluded) AS first_share,
            avg(deep.occluded - deep.untouched) AS gained,
            mean_margin(deep.occluded - deep.untouched) AS gained_margin,
            avg(deep.occluded - first.occluded) AS deeper,
            mean_margin(deep.occluded - first.occluded) AS deeper_margin,
            avg((deep.occluded - deep.untouched) - (first.occluded - first.untouched)) AS beyond,
            mean_margin((deep.occluded - deep.untouched) - (first.occluded - first.untouched)) AS beyond_margin
        FROM attention AS deep
        JOIN (SELECT dataset, model, max(block) AS block FROM attention GROUP BY dataset, model)
            USING (dataset, model, block)
        JOIN attention AS first USING (dataset, model, token, image, kind)
        WHERE kind = 'visible' AND first.block = 1
        GROUP BY dataset, model, token, deep.block
    ),
    looked AS (
        SELECT
            9 AS place,
            'The last block attends to what is left of an image' AS claim,
            format('{} token of {} on {}', token, model, dataset) AS about,
            is_positive(gained, gained_margin) AS verdict,
            format(
                '{:.2f} of its attention on visible patches, {:.2f} on the same ones of untouched images, '
                'difference {}; {} images',
                share, control, with_margin(gained, gained_margin), images
            ) AS numbers
        FROM looks
    ),
    -- More than the first block only if it is so against the untouched images, too.
    looked_deeper AS (
        SELECT
            10 AS place,
            'The last block attends more to what is left than the first' AS claim,
            format('{} token of {} on {}', token, model, dataset) AS about,
            CASE
                WHEN least(deeper - deeper_margin, beyond - beyond_margin) > 0 THEN 'yes'
                WHEN least(deeper + deeper_margin, beyond + beyond_margin) < 0 THEN 'no'
                ELSE 'cannot tell'
            END AS verdict,
            format(
                '{:.2f} in block {} and {:.2f} in block 1, difference {}, {} more than without a mask; {} images',
                share, block, first_share,
                with_margin(deeper, deeper_margin),
                with_margin(beyond, beyond_margin), images
            ) AS numbers
        FROM looks
        WHERE block > 1
    ),
    -- Jaccard indices with true masks, of the same images in two ways: of attention (a mean over its shares) and of as
    -- many random patches; and, segmented by the mean of heads with void left out, of attention and of random patches,
    -- of two tokens of a network, or of the same network trained on images and on what was stylized of them.
    segmented_twice AS (
        SELECT
            7 AS place,
            'The class token attends to the object more than as many random patches' AS claim,
            format('{} on {}', model, dataset) AS about,
            avg(jaccard) AS jaccard,
            avg(random) AS other
        FROM foreground
        GROUP BY dataset, model, image
        UNION ALL
        SELECT
            11 AS place,
            'Attention segments objects better than as many random patches' AS claim,
            format('{}, {} token, on {}', model, token, dataset) AS about,
            jaccard, random AS other
        FROM segmentation_images
        WHERE step = 4
        UNION ALL
        SELECT
            12 AS place,
            'The shape token segments objects better than the class token' AS claim,
            format('{} on {}', one.model, dataset) AS about,
            one.jaccard, another.jaccard AS other
        FROM segmentation_images AS one
        JOIN segmentation_images AS another USING (dataset, model, image, step)
        WHERE step = 4 AND one.token = 'shape' AND another.token = 'class'
        UNION ALL
        SELECT
            13 AS place,
            'Training on stylized images makes attention segment objects better' AS claim,
            format('{} against {} on {}', s.model, n.model, dataset) AS about,
            s.jaccard, n.jaccard AS other
        FROM twins
        JOIN segmentation_images AS s ON s.model = stylized_model
        JOIN segmentation_images AS n USING (dataset, image, step, token)
        WHERE step = 4 AND n.model = natural_model
    ),
    segmented AS (
        SELECT
            place, claim, about,
            is_positive(apart, margin) AS verdict,
            format(
                'Jaccard index {:.2f} against {:.2f}, difference {}; {} images',
                jaccard, other, with_margin(apart, margin), images
            ) AS numbers
        FROM (
            SELECT
                place, claim, about,
                avg(jaccard) AS jaccard,
                avg(other) AS other,
                avg(jaccard - other) AS apart,
                mean_margin(jaccard - other) AS margin,
                count(*) AS images
            FROM segmented_twice
            GROUP BY place, claim, about
        )
    ),
    -- Linear readouts of frozen features against that of the last block's class token, on the same test images.
    gained AS (
        SELECT
            if(patch = 'none', 14, 15) AS place,
            CASE patch
                WHEN 'none' THEN 'Class tokens of several blocks transfer better than the last alone'
                ELSE 'The mean patch token adds to the class token of the last block'
            END AS claim,
            format('{} of {} on {}', readout_in_words(blocks, block, patch), model, dataset) AS about,
            is_above(low, high, 0, 0) AS verdict,
            format(
                'top-1 {:.2f} against {:.2f}, difference {}; {} test images',
                top1, other_top1, in_numbers(gain, low, high), images
            ) AS numbers
        FROM transfer_gains
        WHERE
            protocol = 'validated'
            AND ((blocks IN ('last4', 'all') AND patch = 'none') OR (blocks = 'last' AND patch = 'last'))
    ),
    transferred AS (
        SELECT
            16 AS place,
            'Features transfer better than those of the reference' AS claim,
            format('{} against {} on {}', model, getvariable('reference'), dataset) AS about,
            is_above(low, high, 0, 0) AS verdict,
            format(
                'top-1 {:.2f} against {:.2f}, difference {}; {} test images',
                top1, of_reference, in_numbers(gain, low, high), images
            ) AS numbers
        FROM transfer_compared
    ),
    -- Of the last block, by logistic regression, as the paper does it; in the same episodes.
    taught AS (
        SELECT
            17 AS place,
            'From a few images, features teach more than those of the reference' AS claim,
            format('{} against {} on {}, {}', model, getvariable('reference'), dataset, setting) AS about,
            is_above(difference_low, difference_high, 0, 0) AS verdict,
            format(
                'accuracy {:.2f} against {:.2f}, difference {}; {} episodes',
                accuracy, accuracy - difference, in_numbers(difference, difference_low, difference_high), episodes
            ) AS numbers
        FROM few_shot_scores
        WHERE readout = 'last' AND classifier = 'logistic' AND difference IS NOT NULL
    ),
    -- Normalised by the statistics of batches of test images that are in order of their classes, or by its own.
    unsettled AS (
        SELECT
            18 AS place,
            'Batch statistics take accuracy from a network that is never put into evaluation mode' AS claim,
            format('{} on {}', own.model, dataset) AS about,
            is_above(own.low, own.high, batch.low, batch.high) AS verdict,
            format(
                'top-1 {} against {} with its own statistics; {} test images',
                in_numbers(batch.top1, batch.low, batch.high), in_numbers(own.top1, own.low, own.high), own.images
            ) AS numbers
        FROM transfer_scores AS own
        JOIN transfer_scores AS batch USING (dataset, model, blocks, patch)
        WHERE
            blocks = 'last' AND patch = 'none'
            AND own.protocol = 'authors' AND batch.protocol = 'authors, batch statistics'
    )
SELECT claim, about, verdict, numbers
FROM (
    FROM raised
    UNION ALL FROM between_both
    UNION ALL FROM passed_on
    UNION ALL FROM hidden
    UNION ALL FROM unlearnable
    UNION ALL FROM readable
    UNION ALL FROM kept_features
    UNION ALL FROM looked
    UNION ALL FROM looked_deeper
    UNION ALL FROM segmented
    UNION ALL FROM gained
    UNION ALL FROM transferred
    UNION ALL FROM taught
    UNION ALL FROM unsettled
)
ORDER BY place, about;
