-- Index: files.id. A reserved file that would have no lines.
DELETE FROM files WHERE id = :id AND state = 'pending' AND batch = :batch
