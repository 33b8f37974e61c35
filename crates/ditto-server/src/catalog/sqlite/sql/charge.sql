-- Primary key. In the transaction that makes or ends what is charged.
INSERT INTO tenants (name, stored_bytes, reserved_bytes, open_batches, enqueued_lines)
VALUES (:name, :stored, :reserved, :batches, :lines)
ON CONFLICT (name) DO UPDATE SET
    stored_bytes = stored_bytes + excluded.stored_bytes,
    reserved_bytes = reserved_bytes + excluded.reserved_bytes,
    open_batches = open_batches + excluded.open_batches,
    enqueued_lines = enqueued_lines + excluded.enqueued_lines
