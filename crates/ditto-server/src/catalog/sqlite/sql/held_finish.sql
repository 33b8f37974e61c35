-- Index: batches_held; as held_validation.
SELECT * FROM batches
WHERE state = 'finalizing' AND done_segments >= plan_segments AND held_by = :incarnation
ORDER BY key LIMIT 1
