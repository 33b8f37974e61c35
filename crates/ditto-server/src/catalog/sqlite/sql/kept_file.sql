-- Index: files.id. Whoever was let in may read on: a deleted or expired file too, until its bytes go.
SELECT * FROM files WHERE id = :id AND tenant = :tenant AND state <> 'pending' AND swept = 0
