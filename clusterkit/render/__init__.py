"""L4, pure. Plan -> the text of every file, and the fingerprint that decides whether a node must be made anew."""
