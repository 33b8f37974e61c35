-- Batches that run failed lines of another batch again.
ALTER TABLE batches ADD COLUMN retry_of TEXT;
-- Classes of failures, with commas.
ALTER TABLE batches ADD COLUMN retry_only TEXT;
-- The files of the other batch, which are read while this one is validated.
ALTER TABLE batches ADD COLUMN retry_input TEXT;
ALTER TABLE batches ADD COLUMN retry_errors TEXT;
CREATE INDEX batches_by_retry_input ON batches (retry_input)
    WHERE state = 'validating' AND retry_input IS NOT NULL;
CREATE INDEX batches_by_retry_errors ON batches (retry_errors)
    WHERE state = 'validating' AND retry_errors IS NOT NULL;
