"""Cards by Stripe: the only package that speaks to it. Objects are plain dicts inside."""
