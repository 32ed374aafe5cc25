"""The whole product, seen from outside: fleets of real processes, and what users do with them."""
