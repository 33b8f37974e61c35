-- Index: batches.id.
SELECT created_ms, key FROM batches WHERE id = :id AND tenant = :tenant
