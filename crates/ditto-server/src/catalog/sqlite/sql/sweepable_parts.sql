-- Index: upload_parts_unused.
SELECT p.id AS id, u.id AS upload FROM upload_parts p JOIN uploads u ON u.key = p.upload
WHERE p.state = 'unused' ORDER BY p.seq LIMIT :limit
