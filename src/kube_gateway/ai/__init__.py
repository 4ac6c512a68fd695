"""What the gateway knows about LLM calls: their dialects, the policy that applies to them, and what is counted."""
