"""Where to cut a network: measured layer times, costs of a block, exact cuts."""
