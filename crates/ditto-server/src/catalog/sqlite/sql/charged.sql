-- Primary key.
SELECT stored_bytes, reserved_bytes FROM tenants WHERE name = :name
