INSERT INTO keys (id, tenant, label, hash, shown, created_ms)
VALUES (:id, :tenant, :label, :hash, :shown, :now)
RETURNING *
