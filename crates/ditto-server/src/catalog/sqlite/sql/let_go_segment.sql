-- Primary key. Without a cut: what the owner's part holds has to be fenced by the next one.
UPDATE segments SET owner = NULL, unfenced = coalesce(unfenced, epoch)
WHERE batch = :batch AND idx = :idx AND owner = :incarnation AND epoch = :epoch AND state = 'open'
