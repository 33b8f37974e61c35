-- Index: files.id. Its parts go with it.
UPDATE files SET upload = :upload WHERE id = :id
