-- Indexes: batches.id, segments, files.id. Due, once its result files are gone or go themselves.
SELECT CASE
    WHEN b.swept = 1 THEN 'swept'
    WHEN b.state IN ('validating', 'running', 'finalizing') THEN 'open'
    WHEN b.held_by IS NOT NULL OR EXISTS (
        SELECT 1 FROM files f
        WHERE f.id IN (b.output_file_id, b.error_file_id) AND f.swept = 0
            AND NOT coalesce(iif(f.state = 'deleted', f.gone_ms, f.expires_ms) <= :before, FALSE)
    ) THEN 'ended'
    ELSE 'due'
END AS owner, s.state = 'sealed' AS sealed, s.epoch AS epoch
FROM batches b LEFT JOIN segments s ON s.batch = b.key AND s.idx = :idx
WHERE b.id = :id
