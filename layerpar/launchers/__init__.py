"""How the workers of a run are started: a file per launcher, `base.py` the contract."""
