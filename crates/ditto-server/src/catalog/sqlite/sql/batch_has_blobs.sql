-- Index: batches.id.
SELECT swept = 0 FROM batches WHERE id = :id
