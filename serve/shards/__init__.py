"""Members in many processes, and one answer from them.

members        a shard: some members of the pool, ready to work
trial_run      a member's first answer, before the shard is there
trial_parts    how an ASL image's trials are shared among shards
outcomes       what an answer comes to, for those who watch
fan_out        asks all shards at once; what does not come is a failure with its reason
answer_checks  a wrong answer is a failure of its member
selector       fan-out and reduce
asl_selector   the same for ASL images
limits         how long and how much at once
handles        the seam to Ray Serve's handles
"""
