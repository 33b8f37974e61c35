-- Indexes: files_pending, batches_by_input. Uploads that nobody finished, but no input that is yet
-- to be made. Given up before their bytes go, in the same
-- transaction that lists them: a late ready_file finds nothing, instead of a file without bytes.
-- Nobody could read them, so that nobody has to be waited for.
UPDATE files SET state = 'deleted', gone_ms = created_ms
WHERE state = 'pending' AND batch IS NULL AND created_ms <= :before
    AND NOT EXISTS (
        SELECT 1 FROM batches b
        WHERE b.input_file_id = files.id AND b.state IN ('validating', 'running', 'finalizing')
    )
