-- Index: batches_by_tenant, read backwards.
SELECT * FROM batches
WHERE tenant = :tenant AND (created_ms, key) < (:created, :seq)
ORDER BY created_ms DESC, key DESC
LIMIT :limit
