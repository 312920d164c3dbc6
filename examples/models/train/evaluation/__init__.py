"""Questions, the rule that judges answers, and what evaluate.py measures."""
