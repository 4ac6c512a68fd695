"""One gateway takes over from another in the same pod, with no connection lost.

A newer version is a process of its own, in a cgroup of its own, beside the one that runs. It asks that one for what there
is only once in a pod: the listeners, and the maps of the hooks. Both then accept from the same listeners for a moment; the
older one stops, keeps its connections until they end, and leaves the hooks alone.
"""
