"""Plumbing that both services share: hosting, errors, tickets, paging. Knows nothing of either."""
