-- Primary keys. Of a batch that has no row of this segment only the first column is known.
SELECT b.state NOT IN ('validating', 'running') AS ended, s.state = 'sealed' AS sealed, s.epoch
FROM batches b LEFT JOIN segments s ON s.batch = b.key AND s.idx = :idx
WHERE b.key = :batch
