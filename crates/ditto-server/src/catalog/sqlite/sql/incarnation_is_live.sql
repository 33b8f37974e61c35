-- Primary key.
SELECT 1 FROM incarnations WHERE id = :incarnation AND lease_until_ms > :now
