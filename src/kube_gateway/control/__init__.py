"""The watcher's brain: what is observed, what shall be done about it, and the words gateways and watcher exchange."""
