"""How fast this machine sweeps, measured in pairs, against other ways to do the same and against its own limit."""
