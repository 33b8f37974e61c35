-- Primary key. In the transaction that changes which keys are taken.
UPDATE keyring SET version = version + 1 WHERE one = 1
