"""Kills the real processes at random moments and proves that nothing was lost or bought twice.

`scripts/chaos` is the command. The parts: `sim` (the upstream, which counts), `victims` (what is
killed), `moments` (when), `remains` (what a dead process left in its folder), `book` (what became of
each line, from kill to kill), `customers` (who wants batches done), `inputs` (their files), `world`
(clock, chance, kills), `laws` (what was found broken), `report` (what is printed, and the quotas).
"""
