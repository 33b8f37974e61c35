-- Primary key.
SELECT * FROM segments WHERE batch = :batch AND idx = :idx
