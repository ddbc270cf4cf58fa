"""The motion: lanes hold what each subscription has to do, the pump moves the log through them.

`matching` which events are meant; `lane` one subscription at work, in memory; `recording` what an outcome
writes; `attempts` how a batch is run; `shelves` where steps are kept; `runners` where; `loop` the bus's
asyncio loop; `pump` the rounds.
"""
