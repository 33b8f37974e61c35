-- Indexes: files_unswept, files_expiring, batches_by_input, batches_by_retry_input,
-- batches_by_retry_errors. An input stays while a batch reads it, and so does what a retry is made of.
SELECT * FROM (
    SELECT * FROM files WHERE state = 'deleted' AND swept = 0 AND gone_ms <= :before
    UNION ALL
    SELECT * FROM files WHERE state = 'ready' AND expires_ms <= :before
) f
WHERE NOT EXISTS (
    SELECT 1 FROM batches b
    WHERE b.input_file_id = f.id AND b.state IN ('validating', 'running', 'finalizing')
)
AND NOT EXISTS (
    SELECT 1 FROM batches b WHERE b.state = 'validating' AND b.retry_input = f.id
)
AND NOT EXISTS (
    SELECT 1 FROM batches b WHERE b.state = 'validating' AND b.retry_errors = f.id
)
LIMIT :limit
