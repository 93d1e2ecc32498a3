"""Measures this registry beside another one, on the same machine, with the same files: ``python -m bench``.

::

    __main__   options, the table, the exit status
    rows       what is measured, and what is to be reached
    rounds     in which order, and what comes out of it
    registries the processes that are measured; ours is started by `bench.ours`, which adds a heartbeat
    wrk, client   the loads
    table      the report
"""
