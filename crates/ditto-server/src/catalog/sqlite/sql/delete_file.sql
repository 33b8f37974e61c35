-- Index: files.id.
UPDATE files SET state = 'deleted', gone_ms = :now
WHERE id = :id AND tenant = :tenant AND state = 'ready' AND (expires_ms IS NULL OR expires_ms > :now)
RETURNING tenant, bytes
