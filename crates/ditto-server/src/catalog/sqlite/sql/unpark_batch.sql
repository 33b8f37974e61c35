-- Index: segments_parked_of, at most 768 rows. What waits for a lane would make an ending wait too.
UPDATE segments INDEXED BY segments_parked_of SET parked_until_ms = :now, waits_for = ''
WHERE batch = :batch AND state = 'parked'
