"""Infrastructure for experiments: jobs, backends, and virtual environments for other libraries."""
