-- Index: upload_parts.id. Only a part of this upload, and once.
UPDATE upload_parts SET state = 'chosen', place = :place
WHERE id = :id AND upload = :upload AND state = 'ready'
RETURNING bytes
