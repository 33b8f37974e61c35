-- Primary key. In the transaction that makes or ends what is charged.
INSERT INTO tenants (name, stored_bytes, reserved_bytes) VALUES (:name, :stored, :reserved)
ON CONFLICT (name) DO UPDATE SET
    stored_bytes = stored_bytes + excluded.stored_bytes,
    reserved_bytes = reserved_bytes + excluded.reserved_bytes
