"""A trained pool against slices whose truth is known: what each selection rule would have believed."""
