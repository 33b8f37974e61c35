-- Primary key. From now on its renewals are refused.
DELETE FROM incarnations WHERE id = :incarnation
