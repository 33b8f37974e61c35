-- Index: upload_parts.id. Never one whose bytes count.
DELETE FROM upload_parts WHERE id = :id AND state IN ('pending', 'unused') RETURNING upload
