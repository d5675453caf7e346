"""Studies on disk: nothing that was accepted is lost, whatever dies.

studies   the store
records   what is known of a study
uploads   files on their way into the store
"""
