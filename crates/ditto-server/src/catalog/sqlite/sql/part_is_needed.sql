-- Index: upload_parts.id. One whose bytes are still coming is not whole.
SELECT state IN ('ready', 'chosen') FROM upload_parts WHERE id = :id
