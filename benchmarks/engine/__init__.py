"""What experiments run on: jobs that run once, backends, environments of other libraries."""
