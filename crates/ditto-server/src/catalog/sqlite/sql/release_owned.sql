-- Index: segments_owned. The owner wrote no cut, so its part has to be fenced by the next one.
UPDATE segments SET owner = NULL, unfenced = coalesce(unfenced, epoch)
WHERE owner = :incarnation AND state = 'open'
