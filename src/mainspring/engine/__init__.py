"""The loops that run jobs: each a service under the supervisor."""
