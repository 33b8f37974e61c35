-- Index: files.id. Expired is gone at once, whenever the sweeper comes.
SELECT * FROM files
WHERE id = :id AND tenant = :tenant AND state = 'ready' AND (expires_ms IS NULL OR expires_ms > :now)
