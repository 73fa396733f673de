"""L14. One chaos test: steady state, workload under faults, heal, settle, last reads, verdict, report."""
