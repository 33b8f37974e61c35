-- The id is in the catalog before the first byte is stored.
INSERT INTO upload_parts (id, upload, created_ms) VALUES (:id, :upload, :now)
