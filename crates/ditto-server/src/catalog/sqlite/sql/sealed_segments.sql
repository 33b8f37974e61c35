-- Primary key, from `from` on.
SELECT * FROM segments
WHERE batch = :batch AND idx >= :from AND state = 'sealed'
ORDER BY idx LIMIT :limit
