-- Index: files.id. A pending file is an upload that is not finished, or a result that is named again.
SELECT state <> 'pending' AND swept = 0 FROM files WHERE id = :id
