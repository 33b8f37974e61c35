-- Primary key.
SELECT tenant, reserved_bytes FROM batches WHERE key = :batch AND reserved_bytes > 0
