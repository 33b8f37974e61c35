INSERT INTO uploads (id, tenant, state, filename, purpose, bytes, file_lifetime_s, created_ms, expires_ms)
VALUES (:id, :tenant, 'pending', :filename, :purpose, :bytes, :file_lifetime_s, :now, :expires)
RETURNING *
