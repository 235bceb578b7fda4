"""Pictures of results by matplotlib, one module each: to look at in a notebook, to save, to restyle.

Loaded when a ``plot()`` is asked for, at the front door. They use no global state of pyplot, so that they neither
open windows nor leak figures, and their grounds are transparent and their inks neutral, for light and dark pages.
"""
