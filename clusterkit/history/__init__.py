"""L1. What clients, nemesis and observers did and saw: the append-only record that checkers judge."""
