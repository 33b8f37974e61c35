CREATE TABLE batches (
    -- Never reused: segments and their blobs are named by it.
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    -- Never empty: the ring of tenants begins before the smallest name.
    tenant TEXT NOT NULL CHECK (tenant <> ''),
    -- May name no file at all.
    input_file_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    completion_window TEXT NOT NULL,
    metadata TEXT,
    options TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('validating', 'running', 'finalizing', 'failed', 'completed', 'cancelled', 'expired')),
    ending TEXT CHECK (ending IN ('cancelled', 'expired')),
    model TEXT,
    total INTEGER NOT NULL DEFAULT 0,
    -- Published and sealed.
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    -- Sealed.
    usage_input INTEGER NOT NULL DEFAULT 0,
    usage_cached INTEGER NOT NULL DEFAULT 0,
    usage_output INTEGER NOT NULL DEFAULT 0,
    usage_reasoning INTEGER NOT NULL DEFAULT 0,
    usage_total INTEGER NOT NULL DEFAULT 0,
    errors TEXT,
    output_file_id TEXT,
    error_file_id TEXT,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    in_progress_ms INTEGER,
    finalizing_ms INTEGER,
    completed_ms INTEGER,
    failed_ms INTEGER,
    expired_ms INTEGER,
    cancelling_ms INTEGER,
    cancelled_ms INTEGER,
    -- Entries of the plan; those below the cursor have a segment row or are part of a filler run.
    plan_segments INTEGER NOT NULL DEFAULT 0,
    cursor INTEGER NOT NULL DEFAULT 0,
    -- Entries of the plan that are sealed.
    done_segments INTEGER NOT NULL DEFAULT 0,
    -- Segment rows that are open or parked, and how many of them are filler runs.
    open_segments INTEGER NOT NULL DEFAULT 0,
    open_runs INTEGER NOT NULL DEFAULT 0,
    -- Pending files, taken with the last seal; given up or named when the batch ends.
    reserved_output_id TEXT,
    reserved_error_id TEXT,
    -- The incarnation that validates or finishes it.
    held_by TEXT,
    -- Result files that are neither deleted nor swept.
    files_left INTEGER NOT NULL DEFAULT 0,
    swept INTEGER NOT NULL DEFAULT 0,

    deadline_ms INTEGER GENERATED ALWAYS AS (coalesce(expires_ms, 9223372036854775807)) VIRTUAL,
    -- Lines that were never leased, on average of the plan.
    left_lines INTEGER GENERATED ALWAYS AS
        (total * (plan_segments - cursor) / max(plan_segments, 1)) VIRTUAL,
    -- Has untouched segments that may be leased one by one, to be sent. 256 open or parked
    -- segments a batch: more would only make a takeover longer.
    ended_ms INTEGER
    GENERATED ALWAYS AS (coalesce(completed_ms, failed_ms, expired_ms, cancelled_ms)) VIRTUAL, reserved_bytes INTEGER NOT NULL DEFAULT 0, reopened INTEGER NOT NULL DEFAULT 0, retry_of TEXT, retry_only TEXT, retry_input TEXT, retry_errors TEXT, enqueued_lines INTEGER, parked_segments INTEGER NOT NULL DEFAULT 0, leasable INTEGER GENERATED ALWAYS AS
    (state = 'running' AND ending IS NULL AND cursor < plan_segments
        AND open_segments < 256 AND parked_segments < 768)
    VIRTUAL, fillable INTEGER GENERATED ALWAYS AS
    (state = 'running' AND ending IS NOT NULL AND cursor < plan_segments
        AND open_segments < 256 AND open_runs < 8)
    VIRTUAL, only_first_line INTEGER, only_lines INTEGER, only_offset INTEGER, only_length INTEGER, only_hash INTEGER) STRICT;
CREATE INDEX batches_by_deadline ON batches (tenant, deadline_ms, key) WHERE leasable;
CREATE INDEX batches_by_input ON batches (input_file_id)
    WHERE state IN ('validating', 'running', 'finalizing');
CREATE INDEX batches_by_left ON batches (tenant, left_lines, key) WHERE leasable;
CREATE INDEX batches_by_retry_errors ON batches (retry_errors)
    WHERE state = 'validating' AND retry_errors IS NOT NULL;
CREATE INDEX batches_by_retry_input ON batches (retry_input)
    WHERE state = 'validating' AND retry_input IS NOT NULL;
CREATE INDEX batches_by_tenant ON batches (tenant, created_ms, key);
CREATE INDEX batches_due ON batches (expires_ms)
    WHERE ending IS NULL AND expires_ms IS NOT NULL AND state IN ('validating', 'running');
CREATE INDEX batches_fillable ON batches (key) WHERE fillable;
CREATE INDEX batches_finalizing ON batches (key) WHERE state = 'finalizing';
CREATE INDEX batches_forgettable ON batches (ended_ms) WHERE swept = 1;
CREATE INDEX batches_held ON batches (held_by) WHERE held_by IS NOT NULL;
CREATE INDEX batches_unswept ON batches (key)
    WHERE swept = 0 AND files_left = 0
        AND state IN ('failed', 'completed', 'cancelled', 'expired');
CREATE INDEX batches_validating ON batches (key) WHERE state = 'validating';
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
CREATE INDEX creates_by_hash ON creates (tenant, route, request_hash, created_ms, seq);
CREATE UNIQUE INDEX creates_by_key ON creates (tenant, route, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX creates_by_made ON creates (made);
CREATE INDEX creates_expiring ON creates (expires_ms);
CREATE TABLE files (
    -- Never reused: with created_ms the cursor of lists.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'deleted')),
    purpose TEXT NOT NULL DEFAULT '',
    filename TEXT NOT NULL DEFAULT '',
    bytes INTEGER NOT NULL DEFAULT 0,
    lines INTEGER,
    -- While pending: when the id was taken. From ready on: when it became visible.
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    -- The batch (its key) whose result this is or will be; such a pending row is never litter.
    batch INTEGER,
    -- The bytes are gone, the row stays for list cursors.
    swept INTEGER NOT NULL DEFAULT 0
, gone_ms INTEGER, upload TEXT, piece_blob TEXT, piece_offset INTEGER) STRICT;
CREATE INDEX files_by_purpose ON files (tenant, purpose, created_ms, seq) WHERE state = 'ready';
CREATE INDEX files_by_tenant ON files (tenant, created_ms, seq) WHERE state = 'ready';
CREATE INDEX files_expiring ON files (expires_ms) WHERE state = 'ready' AND expires_ms IS NOT NULL;
CREATE INDEX files_forgettable ON files (gone_ms, seq) WHERE swept = 1;
CREATE INDEX files_pending ON files (created_ms) WHERE state = 'pending';
CREATE INDEX files_unswept ON files (gone_ms, seq) WHERE state = 'deleted' AND swept = 0;
CREATE TABLE incarnations (
    id TEXT PRIMARY KEY,
    lease_until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX incarnations_by_lease ON incarnations (lease_until_ms);
CREATE TABLE keyring (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
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
CREATE TABLE segments (
    batch INTEGER NOT NULL REFERENCES batches (key),
    idx INTEGER NOT NULL,
    -- Entries of the plan: 1, or more for a filler run of an ending batch.
    span INTEGER NOT NULL,
    filler INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'parked', 'sealed')),
    -- An open segment without an owner was released, cleanly or because its owner's row went.
    owner TEXT,
    epoch INTEGER NOT NULL,
    -- An earlier epoch whose journal has no fence yet. Later epochs write nothing before they have
    -- written that fence, so there is never more than one.
    unfenced INTEGER,
    -- JSON list of the durable parts below their fences.
    cuts TEXT NOT NULL DEFAULT '[]',
    parked_until_ms INTEGER,
    published_answers INTEGER NOT NULL DEFAULT 0,
    published_errors INTEGER NOT NULL DEFAULT 0,
    -- From the seal on.
    answers INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    answers_bytes INTEGER NOT NULL DEFAULT 0,
    errors_bytes INTEGER NOT NULL DEFAULT 0,
    usage_input INTEGER NOT NULL DEFAULT 0,
    usage_cached INTEGER NOT NULL DEFAULT 0,
    usage_output INTEGER NOT NULL DEFAULT 0,
    usage_reasoning INTEGER NOT NULL DEFAULT 0,
    usage_total INTEGER NOT NULL DEFAULT 0, waits_for TEXT NOT NULL DEFAULT '', refused_ms INTEGER,
    PRIMARY KEY (batch, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX segments_owned ON segments (owner) WHERE state = 'open' AND owner IS NOT NULL;
CREATE INDEX segments_parked ON segments (waits_for, parked_until_ms) WHERE state = 'parked';
CREATE INDEX segments_parked_of ON segments (batch, waits_for, parked_until_ms)
    WHERE state = 'parked';
CREATE INDEX segments_released ON segments (batch, idx) WHERE state = 'open' AND owner IS NULL;
CREATE TABLE tenants (
    name TEXT PRIMARY KEY,
    -- Of ready files.
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    -- Set aside for open batches.
    reserved_bytes INTEGER NOT NULL DEFAULT 0
, open_batches INTEGER NOT NULL DEFAULT 0, enqueued_lines INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
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
CREATE INDEX uploads_forgettable ON uploads (ended_ms, key) WHERE swept = 1;
CREATE INDEX uploads_pending ON uploads (expires_ms) WHERE state = 'pending';
CREATE INDEX uploads_pending_of ON uploads (tenant, expires_ms) WHERE state = 'pending';
CREATE INDEX uploads_unswept ON uploads (key)
    WHERE swept = 0 AND state IN ('cancelled', 'expired');
