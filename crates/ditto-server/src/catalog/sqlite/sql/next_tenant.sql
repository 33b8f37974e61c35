-- Index: batches_by_left. One step of the ring of tenants with work.
SELECT tenant FROM batches WHERE leasable AND tenant > :after ORDER BY tenant LIMIT 1
