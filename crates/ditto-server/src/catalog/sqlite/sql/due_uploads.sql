-- Index: uploads_pending. Those whose time is over, a few at a time.
SELECT * FROM uploads WHERE state = 'pending' AND expires_ms <= :now ORDER BY expires_ms LIMIT :limit
