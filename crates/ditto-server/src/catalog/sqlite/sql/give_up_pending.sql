-- Index: files_pending. Uploads that nobody finished. Given up before their bytes go, in the same
-- transaction that lists them: a late ready_file finds nothing, instead of a file without bytes.
-- Nobody could read them, so that nobody has to be waited for.
UPDATE files SET state = 'deleted', gone_ms = created_ms
WHERE state = 'pending' AND batch IS NULL AND created_ms <= :before
