-- Index: creates_by_key. A key whose day is over is as good as unknown, swept or not.
SELECT b.*, c.request_hash
FROM creates c JOIN batches b ON b.key = c.batch
WHERE c.tenant = :tenant AND c.idempotency_key = :key AND c.expires_ms > :now
