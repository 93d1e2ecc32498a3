"""Several processes that serve on the same sockets, and one that supervises them.

::

    parent     opens the sockets, takes the store, does the periodic work; serves nobody
      |-- worker 1    accepts on the sockets, as
      |-- worker 2    ... do all the others

The parent is what twistd runs. It opens what ``listen`` names and never accepts there, so connections wait in the
kernel while a worker is replaced. It starts each worker as a program of its own (no copy of a running reactor is ever
made): the same interpreter, with the same path and environment, with the parent's standard output and error, and with
what it needs as open descriptors. A pipe goes each way (`messages`): down come the orders, so that no signal is needed
that a terminal or systemd may send as well; up comes what the worker has to say. When a worker's pipe ends, its parent
has gone: it stops at once. The lock of a store in a directory goes with the descriptors, so it stays taken until the
last worker has ended, and the next daemon waits for that.

What workers share is on a `board` in memory; everything else they have from the store. Limits of HTTP are shared out
among them (`docker_registry.assembly.web_limits`).

A worker that ends is replaced, at once the first time and then ever later. When none of them comes as far as to serve,
again and again or with a status that no restart would mend, the parent gives up. A worker whose reactor does not answer
is killed, and replaced; while there is one that does not answer, and is not killed yet, systemd's watchdog is not told
that all is well.
"""
