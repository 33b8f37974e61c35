-- Primary key.
UPDATE batches SET swept = 1 WHERE key = :batch
