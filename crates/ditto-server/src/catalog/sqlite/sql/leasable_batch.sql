-- Primary key.
SELECT tenant, leasable FROM batches WHERE key = :batch
