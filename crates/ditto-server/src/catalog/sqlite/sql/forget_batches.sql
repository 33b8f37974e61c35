-- Indexes: batches_forgettable, the oldest first; creates_by_made. Only those whose bytes are gone, and so their
-- result files; and none that a create which comes again would still name.
DELETE FROM batches WHERE key IN (
    SELECT key FROM batches b
    WHERE swept = 1 AND ended_ms <= :before
        AND NOT EXISTS (SELECT 1 FROM creates c WHERE c.made = b.id)
    ORDER BY ended_ms LIMIT :limit
)
