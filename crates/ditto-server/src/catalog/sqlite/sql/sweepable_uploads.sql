-- Index: uploads_unswept. Nobody can read their parts, so that nobody has to be waited for.
SELECT * FROM uploads WHERE swept = 0 AND state IN ('cancelled', 'expired') ORDER BY key LIMIT :limit
