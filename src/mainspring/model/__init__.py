"""Pure values and rules: no clock, no await, no input or output."""
