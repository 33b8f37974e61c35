-- Indexes: files_unswept, files_expiring, batches_by_input. An input stays while a batch reads it.
SELECT * FROM (
    SELECT * FROM files WHERE state = 'deleted' AND swept = 0 AND gone_ms <= :before
    UNION ALL
    SELECT * FROM files WHERE state = 'ready' AND expires_ms <= :before
) f
WHERE NOT EXISTS (
    SELECT 1 FROM batches b
    WHERE b.input_file_id = f.id AND b.state IN ('validating', 'running', 'finalizing')
)
LIMIT :limit
