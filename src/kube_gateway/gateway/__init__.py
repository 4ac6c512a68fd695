"""The process inside the pod: a supervisor that holds hooks, listeners and identity, and a worker that moves bytes."""
