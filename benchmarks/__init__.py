"""What clusterkit costs, measured beside docker-compose in one run. `make bench` writes docs/benchmarks.md."""
