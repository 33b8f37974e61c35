-- What goes when: the times that a sweep counts from.

-- When the content stopped being readable. The bytes stay a while for whoever is reading them.
ALTER TABLE files ADD COLUMN gone_ms INTEGER;
UPDATE files SET gone_ms = created_ms WHERE state = 'deleted';
DROP INDEX files_unswept;
CREATE INDEX files_unswept ON files (gone_ms, seq) WHERE state = 'deleted' AND swept = 0;
CREATE INDEX files_forgettable ON files (gone_ms, seq) WHERE swept = 1;

-- A result is counted off when its bytes go, and no longer when it is deleted: they are the batch's.
UPDATE batches SET files_left = files_left + gone.files
FROM (
    SELECT batch, count(*) AS files FROM files
    WHERE state = 'deleted' AND swept = 0 AND batch IS NOT NULL
    GROUP BY batch
) AS gone
WHERE gone.batch = batches.key;

ALTER TABLE batches ADD COLUMN ended_ms INTEGER
    GENERATED ALWAYS AS (coalesce(completed_ms, failed_ms, expired_ms, cancelled_ms)) VIRTUAL;
CREATE INDEX batches_forgettable ON batches (ended_ms) WHERE swept = 1;

-- What each tenant has stored, by deltas. The row without a name is the sum of all.
CREATE TABLE tenants (
    name TEXT PRIMARY KEY,
    -- Of ready files.
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    -- Set aside for open batches.
    reserved_bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO tenants (name, stored_bytes)
SELECT tenant, sum(bytes) FROM files WHERE state = 'ready' GROUP BY tenant;
INSERT INTO tenants (name, stored_bytes) SELECT '', coalesce(sum(stored_bytes), 0) FROM tenants;

-- What is set aside for it while it is open.
ALTER TABLE batches ADD COLUMN reserved_bytes INTEGER NOT NULL DEFAULT 0;
