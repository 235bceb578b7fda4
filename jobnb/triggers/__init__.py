"""When something is due: pure arithmetic on moments, used by front doors and by the service.

Nothing here reads a clock, a store or a network. Calendars of exchanges come from installed packages.
"""
