"""L11. Judges of histories. Pure: a history in, a verdict with its evidence out."""
