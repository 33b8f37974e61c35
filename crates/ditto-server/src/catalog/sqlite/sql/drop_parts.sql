-- Index: upload_parts_of. Their bytes are gone.
DELETE FROM upload_parts WHERE upload = :upload
