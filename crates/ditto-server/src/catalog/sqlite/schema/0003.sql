-- Segments that were found to be missing at the end of their batch are opened again, once.
ALTER TABLE batches ADD COLUMN reopened INTEGER NOT NULL DEFAULT 0;
