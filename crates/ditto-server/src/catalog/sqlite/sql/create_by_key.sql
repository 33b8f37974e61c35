-- Index: creates_by_key. A key whose day is over is as good as unknown, swept or not.
SELECT made, request_hash FROM creates
WHERE tenant = :tenant AND route = :route AND idempotency_key = :key AND expires_ms > :now
