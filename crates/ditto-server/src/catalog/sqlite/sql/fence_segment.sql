-- Primary key. Once: a takeover of the takeover finds the cut and not the epoch.
UPDATE segments SET cuts = :cuts, unfenced = NULL WHERE batch = :batch AND idx = :idx
