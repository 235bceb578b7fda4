"""The worker's room: a supervisor inside the Dask worker, and the child process that runs the user's function."""
