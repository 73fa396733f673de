"""L5. The agent: a small program in a container of its own, beside the nodes it breaks and measures.

It is put into its container as files and runs there without clusterkit: the standard library only, relative imports
only. It sees every process, the engine's bridges and all disks of the host, but neither the engine nor any network
port: who may exec into its container may speak to its socket.
"""
