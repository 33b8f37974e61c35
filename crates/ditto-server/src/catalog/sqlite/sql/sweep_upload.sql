-- Index: uploads.id.
UPDATE uploads SET swept = 1 WHERE id = :id RETURNING key
