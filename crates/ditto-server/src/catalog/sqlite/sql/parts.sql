-- Indexes: uploads.key, upload_parts_of. All that a file can be made of, or was.
SELECT p.*, u.id AS upload_id FROM upload_parts p JOIN uploads u ON u.key = p.upload
WHERE p.upload = :upload AND p.state IN ('ready', 'chosen')
ORDER BY p.seq
