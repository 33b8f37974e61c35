-- Index: uploads_pending_of. Never many more than a tenant may have.
SELECT count(*) FROM uploads WHERE tenant = :tenant AND state = 'pending' AND expires_ms > :now
