"""Other people's engines under jobnb's names: each module adapts one kind of strategy, found without importing it.

Runs in a child, and at the front door for checks. It must never import an engine that the user's own code has not
imported, and takes no code of any.
"""
