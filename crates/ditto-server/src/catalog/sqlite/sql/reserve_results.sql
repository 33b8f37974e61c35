-- Primary key. With the last seal, so that the names exist before any blob of theirs.
UPDATE batches SET reserved_output_id = :output, reserved_error_id = :errors, held_by = NULL
WHERE key = :batch
