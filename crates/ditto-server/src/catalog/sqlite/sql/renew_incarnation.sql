-- Primary key. Also late: as long as the row is there, what nobody took is still ours.
UPDATE incarnations SET lease_until_ms = :until WHERE id = :incarnation
