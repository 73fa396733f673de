"""L9. The faults, a module for each family. Every class here that has a `name` is a fault; nothing is registered."""
