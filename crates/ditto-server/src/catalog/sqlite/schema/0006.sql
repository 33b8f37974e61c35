-- API keys: their hashes, and whose they are. A row is kept for a year after its key has ended.
CREATE TABLE keys (
    -- The order of lists.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL CHECK (tenant <> ''),
    label TEXT,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    -- The first characters of the key, by which its owner knows it again.
    shown TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- By the minute.
    last_used_ms INTEGER,
    -- It is not taken from here on: revoked, or rotated and its grace over.
    ends_ms INTEGER
) STRICT;
CREATE INDEX keys_ending ON keys (ends_ms) WHERE ends_ms IS NOT NULL;
CREATE INDEX keys_without_end ON keys (seq) WHERE ends_ms IS NULL;

-- One row that counts the changes of keys, so that a server sees with one look whether there was any,
-- and knows that there were keys once all of them have been forgotten: it never opens again.
CREATE TABLE keyring (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO keyring (one, version) VALUES (1, 0);

-- What a tenant has open, by deltas like what it has stored.
ALTER TABLE tenants ADD COLUMN open_batches INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN enqueued_lines INTEGER NOT NULL DEFAULT 0;
-- Lines that count as enqueued while it is open; NULL from its end on, when nothing of it counts.
ALTER TABLE batches ADD COLUMN enqueued_lines INTEGER;
UPDATE batches SET enqueued_lines = reserved_bytes / 300
WHERE state IN ('validating', 'running', 'finalizing');
INSERT INTO tenants (name, open_batches, enqueued_lines)
SELECT tenant, count(*), sum(enqueued_lines) FROM batches
WHERE enqueued_lines IS NOT NULL GROUP BY tenant
ON CONFLICT (name) DO UPDATE
SET open_batches = excluded.open_batches, enqueued_lines = excluded.enqueued_lines;
UPDATE tenants SET open_batches = opened.batches, enqueued_lines = opened.lines
FROM (
    SELECT count(*) AS batches, coalesce(sum(enqueued_lines), 0) AS lines FROM batches
    WHERE enqueued_lines IS NOT NULL
) AS opened
WHERE tenants.name = '';
