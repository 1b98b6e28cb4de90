"""Who does the reading: processes of this machine (and, later, of a cluster)."""
