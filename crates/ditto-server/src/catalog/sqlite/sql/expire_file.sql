-- Index: files.id. The first half of a sweep: an expired file becomes a deleted one.
UPDATE files SET state = 'deleted', gone_ms = expires_ms
WHERE id = :id AND state = 'ready' AND expires_ms <= :now
RETURNING tenant, bytes
