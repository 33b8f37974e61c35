INSERT INTO batches (id, tenant, input_file_id, endpoint, completion_window, metadata, options,
    state, created_ms, expires_ms, reserved_bytes, enqueued_lines)
VALUES (:id, :tenant, :input_file_id, :endpoint, :completion_window, :metadata, :options,
    :state, :now, :expires, :reserved, :lines)
RETURNING *
