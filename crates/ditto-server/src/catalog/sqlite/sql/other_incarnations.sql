-- A few rows: one for each life since the last start.
SELECT id FROM incarnations WHERE id <> :incarnation
