-- Index: batches_unswept, from `after` on. Not while a validator that has not noticed the end may still
-- write.
SELECT * FROM batches
WHERE swept = 0 AND files_left = 0 AND state IN ('failed', 'completed', 'cancelled', 'expired')
    AND held_by IS NULL AND key > :after
ORDER BY key LIMIT :limit
