-- Index: files_forgettable, the oldest first. From now on they are no list cursors any more.
DELETE FROM files WHERE seq IN (
    SELECT seq FROM files WHERE swept = 1 AND gone_ms <= :before ORDER BY gone_ms, seq LIMIT :limit
)
