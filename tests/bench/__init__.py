"""The figures: what digests, signatures, the seal and the launcher cost, against named peers."""
