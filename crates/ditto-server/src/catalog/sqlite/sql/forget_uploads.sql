-- Indexes: uploads_forgettable, the oldest first; creates_by_made. Not while a request that comes again
-- would name it.
DELETE FROM uploads WHERE key IN (
    SELECT key FROM uploads u
    WHERE swept = 1 AND ended_ms <= :before
        AND NOT EXISTS (SELECT 1 FROM creates c WHERE c.made = u.id)
    ORDER BY ended_ms, key LIMIT :limit
)
