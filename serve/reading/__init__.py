"""Files from strangers are opened only in a child process with limits of memory, time and disk.

limits      how much a child may take
zygote      a process that has imported everything and forks the children
child       what runs in them: check an upload, read it, write its results
study_file  a study on its way from a child: plain arrays and JSON, never a pickle
reader      asks for it
"""
