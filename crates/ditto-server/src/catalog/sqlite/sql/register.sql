INSERT INTO incarnations (id, lease_until_ms) VALUES (:incarnation, :until)
ON CONFLICT (id) DO UPDATE SET lease_until_ms = excluded.lease_until_ms
