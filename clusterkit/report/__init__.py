"""L13. The folder of a run, told to people and to programs: text, JSON, JUnit XML, HTML."""
