-- A batch of one segment has its plan here, a result file of one piece its manifest: a blob each would
-- cost a small batch more than its lines do. What is NULL stands in the blob, as before.
ALTER TABLE batches ADD COLUMN only_first_line INTEGER;
ALTER TABLE batches ADD COLUMN only_lines INTEGER;
ALTER TABLE batches ADD COLUMN only_offset INTEGER;
ALTER TABLE batches ADD COLUMN only_length INTEGER;
-- The 64 bits of an unsigned number.
ALTER TABLE batches ADD COLUMN only_hash INTEGER;
-- The blob that holds the file's bytes, and where they begin in it.
ALTER TABLE files ADD COLUMN piece_blob TEXT;
ALTER TABLE files ADD COLUMN piece_offset INTEGER;
