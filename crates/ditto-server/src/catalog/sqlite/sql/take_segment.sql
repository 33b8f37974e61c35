-- Primary key. The new epoch is what fences the old owner: its renewals and its seal name the old one.
UPDATE segments
SET state = 'open', owner = :incarnation, epoch = :epoch, unfenced = :unfenced,
    parked_until_ms = NULL, waits_for = ''
WHERE batch = :batch AND idx = :idx
