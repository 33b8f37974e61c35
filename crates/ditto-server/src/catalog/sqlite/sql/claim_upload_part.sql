-- Indexes: uploads.id, upload_parts.id.
SELECT CASE
    WHEN u.swept = 1 THEN 'swept'
    WHEN u.state = 'completed' THEN 'completed'
    WHEN u.state = 'pending' AND u.expires_ms > :now THEN 'pending'
    ELSE 'ended'
END AS owner, u.file_id AS file_id, p.state AS part
FROM uploads u LEFT JOIN upload_parts p ON p.id = :part AND p.upload = u.key
WHERE u.id = :id
