-- Index: keys.id.
SELECT * FROM keys WHERE id = :id
