"""L5. `python3 -m agent` in the agent's container."""

from .server import main

main()
