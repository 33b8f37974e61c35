-- Index: files.id. Deleted and expired files are valid: a reader may delete while it pages.
SELECT created_ms, seq FROM files WHERE id = :id AND tenant = :tenant AND state <> 'pending'
