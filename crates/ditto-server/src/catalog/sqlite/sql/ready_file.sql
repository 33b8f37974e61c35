-- Index: files.id. Only a pending file: one that the sweeper gave up has lost its bytes.
-- It is listed by the time it became visible, so that a reader of pages never misses it.
UPDATE files
SET state = 'ready', purpose = :purpose, filename = :filename, bytes = :bytes, lines = :lines,
    created_ms = :now, expires_ms = :expires, piece_blob = :piece_blob, piece_offset = :piece_offset
WHERE id = :id AND state = 'pending'
RETURNING *
