INSERT INTO batches (id, tenant, input_file_id, endpoint, completion_window, metadata, options,
    state, created_ms, expires_ms, reserved_bytes, enqueued_lines, retry_of, retry_only,
    retry_input, retry_errors, held_by)
VALUES (:id, :tenant, :input_file_id, :endpoint, :completion_window, :metadata, :options,
    :state, :now, :expires, :reserved, :lines, :retry_of, :retry_only, :retry_input, :retry_errors,
    :held_by)
RETURNING *
