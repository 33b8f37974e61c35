-- Index: batches_by_left, its first row for this tenant.
SELECT key, expires_ms, left_lines FROM batches
WHERE leasable AND tenant = :tenant ORDER BY left_lines, key LIMIT 1
