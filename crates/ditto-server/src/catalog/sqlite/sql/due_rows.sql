-- Indexes: creates_expiring, files_forgettable, batches_forgettable, uploads_forgettable,
-- creates_by_made. What the forget statements would take, for a sweep that changes nothing.
SELECT
    (SELECT count(*) FROM creates WHERE expires_ms <= :now) AS creates,
    (SELECT count(*) FROM files WHERE swept = 1 AND gone_ms <= :files_before) AS files,
    (SELECT count(*) FROM batches b
        WHERE swept = 1 AND ended_ms <= :before
            AND NOT EXISTS (SELECT 1 FROM creates c WHERE c.made = b.id AND c.expires_ms > :now)
    ) AS batches,
    (SELECT count(*) FROM uploads u
        WHERE swept = 1 AND ended_ms <= :uploads_before
            AND NOT EXISTS (SELECT 1 FROM creates c WHERE c.made = u.id AND c.expires_ms > :now)
    ) AS uploads
