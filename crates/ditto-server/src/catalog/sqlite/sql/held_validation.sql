-- Index: batches_held. The caller's own again, for a try that failed; nothing is written, so that
-- looking for work costs no sync.
SELECT * FROM batches
WHERE state = 'validating' AND held_by = :incarnation
ORDER BY key LIMIT 1
