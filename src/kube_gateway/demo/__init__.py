"""The product's own demonstration: two ordinary programs, enrolled while they run, and what the wire shows of it."""
