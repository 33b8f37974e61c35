-- Index: segments_owned, at most as many rows as a worker holds segments.
SELECT DISTINCT b.key, b.ending
FROM segments s JOIN batches b ON b.key = s.batch
WHERE s.owner = :incarnation AND s.state = 'open' AND b.ending IS NOT NULL
