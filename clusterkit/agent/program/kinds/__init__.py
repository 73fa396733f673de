"""L5. The kinds of fault, a module for each family; every module here is loaded when the agent starts.

A module has KINDS (classes of Kind) and CALLS (name -> what can be asked: measurements), either of them or both.
"""
