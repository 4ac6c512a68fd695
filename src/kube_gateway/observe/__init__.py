"""What crosses the wire, seen from outside the gateway: capture, reassembly, and proof of what was (not) readable."""
