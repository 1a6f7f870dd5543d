"""Faults injected for real: processes killed, files damaged, disks filled, servers that fail.

The fast suite injects a few of most kinds, `make soak` hundreds, by seed. docs/GUARANTEES.md says
what is promised and which test holds it.

    fork_server       programs that start at once, forked from one that has imported everything
    kills             kills a program or its helpers until it is done; dask_cluster is what it kills
    helper_programs   small programs with each kind of helper
    killed_saves      saves of checkpoints, and killed_training trainings, ended at write_moments
    faulty_rank       one process of a training of two
    kept_files        one file of each kind that is kept, for flipped bits
    writing_commands  the commands that meet full disks
    web_server        a server that fails by seed
    hostile           runs readers on hostile input and watches what they do; damage makes it from
                      valid_files, images and videos, and harmful_text holds what is handmade
    weather           a disk that fails by seed (weather.c), and weather_jobs what meets it
"""
