"""L5. What breaks and measures nodes: the program in its container, and how to speak to it."""
