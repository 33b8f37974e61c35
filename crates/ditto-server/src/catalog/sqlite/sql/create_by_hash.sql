-- Index: creates_by_hash. Of several the newest: it is the one whose answer can still be under way.
SELECT made FROM creates
WHERE tenant = :tenant AND route = :route AND request_hash = :request_hash AND created_ms > :since
ORDER BY created_ms DESC, seq DESC LIMIT 1
