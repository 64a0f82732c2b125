"""Defence: what a request must satisfy before it is forwarded."""
