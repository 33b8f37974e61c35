-- Index: batches_fillable.
SELECT key, cursor, min(64, plan_segments - cursor) AS span FROM batches
WHERE fillable ORDER BY key LIMIT 1
