"""L4, pure. Plan -> the text of every file, and the parts that decide what a change does to a node."""
