-- Index: files.id. Only what nobody can read any more, and once: a result is counted off.
UPDATE files SET swept = 1 WHERE id = :id AND state = 'deleted' AND swept = 0
RETURNING batch, upload
