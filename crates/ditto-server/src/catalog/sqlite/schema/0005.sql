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

-- Files that come in parts.
CREATE TABLE uploads (
    -- Never reused.
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL CHECK (tenant <> ''),
    -- A pending one whose time is over has expired, whatever stands here.
    state TEXT NOT NULL CHECK (state IN ('pending', 'completed', 'cancelled', 'expired')),
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    -- As declared.
    bytes INTEGER NOT NULL,
    -- Of the file that it will be.
    file_lifetime_s INTEGER,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    -- The file that it has become.
    file_id TEXT,
    -- Rows of its parts, and the bytes of those that are ready, which its tenant has until it ends.
    parts INTEGER NOT NULL DEFAULT 0,
    part_bytes INTEGER NOT NULL DEFAULT 0,
    -- The bytes of its parts are gone.
    swept INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX uploads_pending ON uploads (expires_ms) WHERE state = 'pending';
CREATE INDEX uploads_pending_of ON uploads (tenant, expires_ms) WHERE state = 'pending';
CREATE INDEX uploads_unswept ON uploads (key)
    WHERE swept = 0 AND state IN ('cancelled', 'expired');
CREATE INDEX uploads_forgettable ON uploads (ended_ms, key) WHERE swept = 1;

CREATE TABLE upload_parts (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    upload INTEGER NOT NULL REFERENCES uploads (key),
    -- Pending: its id is taken, its bytes are still coming. Chosen: it is a part of the file. Unused: the
    -- file was made without it.
    state TEXT NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'ready', 'chosen', 'unused')),
    bytes INTEGER NOT NULL DEFAULT 0,
    breaks INTEGER NOT NULL DEFAULT 0,
    ends_line INTEGER NOT NULL DEFAULT 0,
    index_bytes INTEGER NOT NULL DEFAULT 0,
    -- While pending: when the id was taken. From ready on: when it was.
    created_ms INTEGER NOT NULL,
    -- In the file, from 0.
    place INTEGER
) STRICT;
CREATE INDEX upload_parts_of ON upload_parts (upload, seq);
CREATE INDEX upload_parts_unused ON upload_parts (seq) WHERE state = 'unused';

-- The upload (its id) that a file was: its bytes are those of the parts.
ALTER TABLE files ADD COLUMN upload TEXT;
