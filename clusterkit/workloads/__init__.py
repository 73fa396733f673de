"""L12. What clients do to a system while it is broken: one workload for each kind of promise."""
