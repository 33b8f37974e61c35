-- Index: files.id. Never a ready one, and never one that a batch has reserved.
DELETE FROM files WHERE id = :id AND state = 'pending' AND batch IS NULL
