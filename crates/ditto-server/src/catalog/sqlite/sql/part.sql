-- Indexes: upload_parts.id, uploads.key. Of an upload of this tenant.
SELECT p.*, u.id AS upload_id FROM upload_parts p JOIN uploads u ON u.key = p.upload
WHERE p.id = :id AND u.tenant = :tenant
