"""The planner: from a Fit and a cost to a Plan."""
