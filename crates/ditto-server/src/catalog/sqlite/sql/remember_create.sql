-- Replaces the row of the same key whose day is over; one that still counts was found before.
INSERT OR REPLACE INTO creates
    (batch, tenant, idempotency_key, request_hash, created_ms, expires_ms)
VALUES (:batch, :tenant, :key, :request_hash, :now, :expires)
