-- By rowid: at most MOST_KEYS of them are live, and those that have ended go after a year. Asked when
-- keyring.version has changed.
SELECT * FROM keys WHERE ends_ms IS NULL OR ends_ms > :now ORDER BY seq
