-- Index: upload_parts.id.
UPDATE upload_parts
SET state = 'ready', bytes = :bytes, breaks = :breaks, ends_line = :ends_line,
    index_bytes = :index_bytes, created_ms = :now
WHERE id = :id AND state = 'pending'
