-- Top-1 of the class token of each block, through the network's own head. Images are what was sampled, so the interval
-- is over them. The last block is what the model decides by.
CREATE TABLE accuracy_by_block AS
WITH
    of_blocks AS (
        SELECT dataset, model, block, avg((rank = 0)::INT) AS top1, avg((rank < 5)::INT) AS top5, count(*) AS images
        FROM block_accuracy
        GROUP BY dataset, model, block
    )
SELECT
    dataset, model, place, block,
    top1,
    wilson_low(top1, of_blocks.images) AS low,
    wilson_high(top1, of_blocks.images) AS high,
    top5, chance, of_blocks.images
FROM of_blocks
JOIN places USING (model)
JOIN datasets USING (dataset)
ORDER BY dataset, place, block;
