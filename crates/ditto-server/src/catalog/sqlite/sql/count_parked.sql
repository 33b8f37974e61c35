-- Primary key. One is put down, or with -1 taken up again.
UPDATE batches
SET open_segments = open_segments - :parked, parked_segments = parked_segments + :parked
WHERE key = :batch
