-- A parked segment names the lane that it waits for, and is counted apart: what waits for a lane that is
-- paused takes no room from what can be sent.
ALTER TABLE segments ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
-- Since when lines of it wait for an upstream that is full, as far as known when it was put down.
ALTER TABLE segments ADD COLUMN refused_ms INTEGER;
DROP INDEX segments_parked;
DROP INDEX segments_parked_of;
CREATE INDEX segments_parked ON segments (waits_for, parked_until_ms) WHERE state = 'parked';
CREATE INDEX segments_parked_of ON segments (batch, waits_for, parked_until_ms)
    WHERE state = 'parked';

ALTER TABLE batches ADD COLUMN parked_segments INTEGER NOT NULL DEFAULT 0;
UPDATE batches SET parked_segments = (
    SELECT count(*) FROM segments WHERE batch = batches.key AND state = 'parked'
)
WHERE open_segments > 0;
UPDATE batches SET open_segments = open_segments - parked_segments WHERE parked_segments > 0;

DROP INDEX batches_by_deadline;
DROP INDEX batches_by_left;
DROP INDEX batches_fillable;
ALTER TABLE batches DROP COLUMN leasable;
ALTER TABLE batches DROP COLUMN fillable;
-- Has untouched segments that may be leased one by one, to be sent. 256 open segments a batch: more
-- would only make a takeover longer. 768 parked ones: a reader of partial results says in its cursor
-- what it has of each, and the cursor has to fit into the first line of a request.
ALTER TABLE batches ADD COLUMN leasable INTEGER GENERATED ALWAYS AS
    (state = 'running' AND ending IS NULL AND cursor < plan_segments
        AND open_segments < 256 AND parked_segments < 768)
    VIRTUAL;
-- Has untouched segments that may be leased in runs, to be filled with the ending's lines. 8 at a time:
-- enough for all cores, and a cancel of millions takes no turn from work that is paid.
ALTER TABLE batches ADD COLUMN fillable INTEGER GENERATED ALWAYS AS
    (state = 'running' AND ending IS NOT NULL AND cursor < plan_segments
        AND open_segments < 256 AND open_runs < 8)
    VIRTUAL;
CREATE INDEX batches_by_deadline ON batches (tenant, deadline_ms, key) WHERE leasable;
CREATE INDEX batches_by_left ON batches (tenant, left_lines, key) WHERE leasable;
CREATE INDEX batches_fillable ON batches (key) WHERE fillable;
