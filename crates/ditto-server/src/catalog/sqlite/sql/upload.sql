-- Index: uploads.id.
SELECT * FROM uploads WHERE id = :id AND tenant = :tenant
