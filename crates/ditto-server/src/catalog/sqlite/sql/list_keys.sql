-- By rowid. For operators.
SELECT * FROM keys ORDER BY seq
