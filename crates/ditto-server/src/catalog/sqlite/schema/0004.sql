-- Keys and repeats are those of a route, and of more calls than the creates of batches: a row names
-- what was made by its id.
ALTER TABLE creates RENAME TO creates_of_batches;
CREATE TABLE creates (
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    -- Which call it was.
    route TEXT NOT NULL,
    idempotency_key TEXT,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 16),
    -- The id of what it made.
    made TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
INSERT INTO creates (tenant, route, idempotency_key, request_hash, made, created_ms, expires_ms)
SELECT c.tenant, 'batches', c.idempotency_key, c.request_hash, b.id, c.created_ms, c.expires_ms
FROM creates_of_batches c JOIN batches b ON b.key = c.batch
ORDER BY c.batch;
DROP TABLE creates_of_batches;
CREATE UNIQUE INDEX creates_by_key ON creates (tenant, route, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX creates_by_hash ON creates (tenant, route, request_hash, created_ms, seq);
CREATE INDEX creates_by_made ON creates (made);
CREATE INDEX creates_expiring ON creates (expires_ms);
