-- Replaces the row of the same key whose day is over; one that still counts was found before.
INSERT OR REPLACE INTO creates
    (tenant, route, idempotency_key, request_hash, made, created_ms, expires_ms)
VALUES (:tenant, :route, :key, :request_hash, :made, :now, :expires)
