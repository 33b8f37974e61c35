-- Index: segments_owned, at most as many rows as a worker holds segments.
SELECT batch, idx, epoch FROM segments WHERE owner = :incarnation AND state = 'open'
