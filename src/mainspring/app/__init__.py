"""The face: apps, tasks, jobs. The one place that wires the others together; its public names are in the root."""
