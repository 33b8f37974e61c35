-- Indexes: files.id, batches_by_input, batches_by_retry_input, batches_by_retry_errors.
-- Whether its bytes may go is as in sweepable_files and
-- give_up_pending; 'held' while any row needs them.
SELECT CASE
    WHEN swept = 1 THEN 'litter'
    WHEN EXISTS (
        SELECT 1 FROM batches b
        WHERE b.input_file_id = files.id AND b.state IN ('validating', 'running', 'finalizing')
    ) THEN 'held'
    WHEN EXISTS (
        SELECT 1 FROM batches b
        WHERE b.state = 'validating' AND b.retry_input = files.id
    ) THEN 'held'
    WHEN EXISTS (
        SELECT 1 FROM batches b
        WHERE b.state = 'validating' AND b.retry_errors = files.id
    ) THEN 'held'
    WHEN state = 'pending' AND batch IS NULL AND created_ms <= :pending_before THEN 'due'
    WHEN state = 'pending' THEN 'held'
    WHEN state = 'deleted' AND gone_ms <= :before THEN 'due'
    WHEN state = 'ready' AND expires_ms <= :before THEN 'due'
    ELSE 'held'
END AS claim
FROM files WHERE id = :id
