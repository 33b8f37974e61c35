-- Indexes: keys_without_end, keys_ending. For operators, when a key is made.
SELECT (SELECT count(*) FROM keys WHERE ends_ms IS NULL)
    + (SELECT count(*) FROM keys WHERE ends_ms > :now) AS live
