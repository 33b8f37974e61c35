-- Index: files.id. Only what nobody can read any more.
UPDATE files SET swept = 1 WHERE id = :id AND state = 'deleted'
