-- Index: uploads.id. One that is over has no part that anybody could read.
SELECT swept = 0 AND (state = 'completed' OR (state = 'pending' AND expires_ms > :now))
FROM uploads WHERE id = :id
