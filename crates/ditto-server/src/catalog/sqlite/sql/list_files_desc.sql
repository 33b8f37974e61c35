-- Index: files_by_tenant, read backwards.
SELECT * FROM files
WHERE tenant = :tenant AND state = 'ready'
    AND (expires_ms IS NULL OR expires_ms > :now) AND (created_ms, seq) < (:created, :seq)
ORDER BY created_ms DESC, seq DESC
LIMIT :limit
