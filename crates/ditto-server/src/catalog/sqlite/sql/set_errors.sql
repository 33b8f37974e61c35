-- Primary key.
UPDATE batches SET errors = :errors WHERE key = :batch
