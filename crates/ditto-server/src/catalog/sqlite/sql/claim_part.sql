-- Primary keys. A part of a journal is named by its batch's key.
SELECT CASE
    WHEN b.swept = 1 THEN 'swept'
    WHEN b.state IN ('running', 'finalizing') AND s.idx IS NULL AND :idx < b.cursor THEN 'gap'
    WHEN b.state IN ('validating', 'running', 'finalizing') THEN 'open'
    ELSE 'ended'
END AS owner, s.state = 'sealed' AS sealed, s.epoch AS epoch
FROM batches b LEFT JOIN segments s ON s.batch = b.key AND s.idx = :idx
WHERE b.key = :batch
