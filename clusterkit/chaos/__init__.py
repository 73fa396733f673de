"""L9. Faults: what can be broken, whom it meets, whether it bit, and how it is put back."""
