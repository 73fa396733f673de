"""L13. The folder of a run, told to people and to programs: text, JUnit XML, HTML."""

from clusterkit.report.listing import Listed, runs
from clusterkit.report.write import summary, write

__all__ = ["Listed", "runs", "summary", "write"]
