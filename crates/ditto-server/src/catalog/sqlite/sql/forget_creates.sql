-- Index: creates_expiring.
DELETE FROM creates WHERE batch IN (
    SELECT batch FROM creates WHERE expires_ms <= :now ORDER BY expires_ms LIMIT :limit
)
