-- Primary key. The manifests hold what a reader needs.
DELETE FROM segments WHERE batch = :batch
