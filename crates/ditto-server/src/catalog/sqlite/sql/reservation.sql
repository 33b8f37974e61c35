-- Primary key. What counts of it as long as it is open.
SELECT tenant, reserved_bytes, enqueued_lines FROM batches
WHERE key = :batch AND enqueued_lines IS NOT NULL
