"""What is counted of LLM calls: budgets, figures, spans and the audit log."""
