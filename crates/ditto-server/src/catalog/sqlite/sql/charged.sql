-- Primary key.
SELECT stored_bytes, reserved_bytes, open_batches, enqueued_lines FROM tenants WHERE name = :name
