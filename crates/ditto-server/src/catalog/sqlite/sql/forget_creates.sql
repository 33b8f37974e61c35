-- Index: creates_expiring.
DELETE FROM creates WHERE seq IN (
    SELECT seq FROM creates WHERE expires_ms <= :now ORDER BY expires_ms LIMIT :limit
)
