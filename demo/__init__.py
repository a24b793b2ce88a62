"""The demo: durable jobs survive a `kill -9`, on the Python library of this machine. Run it with `make demo`."""
