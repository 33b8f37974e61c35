-- Primary key.
SELECT version FROM keyring WHERE one = 1
