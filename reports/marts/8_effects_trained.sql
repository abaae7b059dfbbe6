-- Claims about shape, texture and training.

-- Shape biases are over decided images, which differ from model to model, so they are compared as if of other images.
INSERT INTO effects
WITH
    biases AS (
        SELECT dataset, observer AS model, kind, shape_bias, low, high, decided
        FROM observed_bias
        ANTI JOIN stylized USING (dataset)
        WHERE kind IN ('model', 'people') AND shape_bias IS NOT NULL AND low IS NOT NULL
    ),
    models_compared AS (
        SELECT 'shape_bias' AS claim, model, other FROM vits_and_cnns
        UNION ALL
        SELECT 'stylized_bias', stylized_model, natural_model FROM twins
        UNION ALL
        SELECT 'shape_token', shape_model, class_model FROM students
        UNION ALL
        SELECT 'shape_token_teacher', teacher, shape_model FROM students
    ),
    compared AS (
        SELECT claim, format('{} against {} on {}', a.model, b.model, a.dataset) AS about, a, b
        FROM models_compared AS c
        JOIN biases AS a ON a.model = c.model AND a.kind = 'model'
        JOIN biases AS b ON b.model = c.other AND b.kind = 'model' AND b.dataset = a.dataset
        UNION ALL
        SELECT 'people', format('{} against {} on {}', a.model, b.model, a.dataset), a, b
        FROM twins
        JOIN biases AS a ON a.model = stylized_model AND a.kind = 'model'
        JOIN biases AS b ON b.dataset = a.dataset
        WHERE twins.model_family = 'vit' AND b.kind = 'people'
        UNION ALL
        -- Two students that differ in their teacher alone, and teachers that are surely apart.
        SELECT
            'teacher_passed',
            format('{} taught by {} against {} by {} on {}', a.model, one.teacher, b.model, another.teacher, a.dataset),
            a, b
        FROM trainings AS one
        JOIN trainings AS another USING (architecture, settings, data, head)
        JOIN biases AS a ON a.model = one.model AND a.kind = 'model'
        JOIN biases AS b ON b.model = another.model AND b.kind = 'model' AND b.dataset = a.dataset
        JOIN biases AS more ON more.model = one.teacher AND more.kind = 'model' AND more.dataset = a.dataset
        JOIN biases AS less ON less.model = another.teacher AND less.kind = 'model' AND less.dataset = a.dataset
        WHERE head = 'shape' AND more.low > less.high
    )
SELECT
    claim, about,
    a.shape_bias - b.shape_bias,
    apart_low(a.shape_bias, a.low, b.shape_bias, b.high),
    apart_high(a.shape_bias, a.high, b.shape_bias, b.low),
    least(a.decided, b.decided),
    format('{}; {:,} and {:,} decided images', in_numbers(a.shape_bias, b.shape_bias), a.decided, b.decided)
FROM compared;

-- What can still be read of stylized images, in units of chance. A texture can only be hidden from those that answered
-- it before.
INSERT INTO effects
WITH
    -- A dataset is labelled by texture if what its textures stand for is none of its classes.
    labels AS (
        SELECT dataset, coalesce(NOT bool_or(list_contains(names, texture_class)), false) AS are_textures
        FROM images
        JOIN (SELECT dataset, list(DISTINCT class_name) AS names FROM images GROUP BY dataset) USING (dataset)
        GROUP BY dataset
    ),
    scores AS (
        SELECT
            m.dataset, m.model, top1, low, high, images, chance, are_textures,
            s.content, t.content AS data_content, architecture, settings
        FROM models AS m
        JOIN stylized AS s USING (dataset)
        JOIN trainings AS t USING (model)
        JOIN labels USING (dataset)
        WHERE t.stylized AND t.teacher IS NULL AND m.dataset <> t.data
    ),
    read AS (
        SELECT
            'texture_hidden' AS claim, s.model, s.dataset, s.texture_share AS share, s.texture_low AS low,
            s.texture_high AS high, s.images, s.chance, n.texture_share AS share_before
        FROM shape_bias AS s
        JOIN stylized USING (dataset)
        JOIN shape_bias AS n ON n.dataset = stylized.content AND n.model = s.model
        JOIN trainings AS t ON t.model = s.model
        WHERE NOT t.stylized AND t.teacher IS NULL AND n.texture_low > 1.5 * n.chance
        UNION ALL
        SELECT
            'texture_unlearnable', s.model, s.dataset, s.top1, s.low, s.high, s.images, s.chance, n.top1
        FROM scores AS s
        JOIN trainings AS t
            ON t.data = data_content AND t.architecture = s.architecture AND t.settings = s.settings
            AND t.teacher IS NULL
        JOIN models AS n ON n.model = t.model AND n.dataset = s.content
        WHERE are_textures AND n.low > 1.5 * n.chance
        UNION ALL
        SELECT 'shape_readable', model, dataset, top1, low, high, images, chance, NULL
        FROM scores
        WHERE NOT are_textures
    )
SELECT
    claim,
    format('{} on {}', model, dataset),
    share / chance, low / chance, high / chance, images,
    if(
        share_before IS NULL,
        format('{:.1f} %, chance is {:.1f} %', 100 * share, 100 * chance),
        format(
            '{:.1f} %, {:.1f} % before it was stylized, chance is {:.1f} %', 100 * share, 100 * share_before, 100 * chance
        )
    )
FROM read;
