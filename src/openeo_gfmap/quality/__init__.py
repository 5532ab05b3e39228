"""Quality gates: what a received file must be before it is accepted."""
