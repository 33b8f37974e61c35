-- Index: files.id. The first half of a sweep: an expired file becomes a deleted one.
UPDATE files SET state = 'deleted'
WHERE id = :id AND state = 'ready' AND expires_ms <= :now
RETURNING batch
