"""Three of every component of a distributed system on one machine, every log line, and faults on purpose."""

__version__ = "0.1.0"
__all__ = ["__version__"]
