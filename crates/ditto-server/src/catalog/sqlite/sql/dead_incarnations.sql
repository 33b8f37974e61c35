-- Index: incarnations_by_lease.
SELECT id FROM incarnations WHERE lease_until_ms <= :before
