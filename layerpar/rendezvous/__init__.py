"""How workers find each other, tell a peer that works from one that is gone, and say why they failed."""
