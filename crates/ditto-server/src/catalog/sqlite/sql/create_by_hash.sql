-- Index: creates_by_hash. Of several the newest: it is the one whose answer can still be under way.
SELECT b.*
FROM creates c JOIN batches b ON b.key = c.batch
WHERE c.tenant = :tenant AND c.request_hash = :request_hash AND c.created_ms > :since
ORDER BY c.created_ms DESC, c.batch DESC LIMIT 1
