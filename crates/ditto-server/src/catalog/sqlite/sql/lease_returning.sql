-- Indexes: segments_released, segments_parked, incarnations_by_lease with segments_owned; each holds
-- only what waits or is held. A frozen owner's row stays, so that it keeps what nobody took.
SELECT * FROM (
    SELECT * FROM segments
    WHERE state = 'open' AND owner IS NULL
    UNION ALL
    SELECT * FROM segments
    WHERE state = 'parked' AND parked_until_ms <= :now
    UNION ALL
    SELECT s.*
    FROM incarnations i CROSS JOIN segments s ON s.owner = i.id AND s.state = 'open'
    WHERE i.lease_until_ms <= :now
)
LIMIT :limit
