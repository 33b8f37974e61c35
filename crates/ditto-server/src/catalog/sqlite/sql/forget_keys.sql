-- Index: keys_ending.
DELETE FROM keys WHERE ends_ms < :before
