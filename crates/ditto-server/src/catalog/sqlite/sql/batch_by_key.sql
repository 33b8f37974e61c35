-- Primary key.
SELECT * FROM batches WHERE key = :batch
