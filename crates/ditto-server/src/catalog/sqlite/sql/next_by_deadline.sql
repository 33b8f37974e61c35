-- Index: batches_by_deadline, its first row for this tenant.
SELECT key, expires_ms, left_lines FROM batches
WHERE leasable AND tenant = :tenant ORDER BY deadline_ms, key LIMIT 1
