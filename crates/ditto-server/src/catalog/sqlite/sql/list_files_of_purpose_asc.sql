-- Index: files_by_purpose.
SELECT * FROM files
WHERE tenant = :tenant AND purpose = :purpose AND state = 'ready'
    AND (expires_ms IS NULL OR expires_ms > :now) AND (created_ms, seq) > (:created, :seq)
ORDER BY created_ms, seq
LIMIT :limit
