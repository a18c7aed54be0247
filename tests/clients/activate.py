"""Does what systemd does for a socket unit: keeps a listening socket, and starts the service with it.

activate.py SOCKET NAME PROGRAM ARGUMENT...   restarts the program at SIGUSR1, ends it at SIGTERM
"""
import os
import signal
import socket
import sys

path, name, *program = sys.argv[1:]
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
listening.listen(4096)
os.set_inheritable(listening.fileno(), True)
again = True
child = 0


def start():
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.dup2(listening.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=name)
    os.execv(program[0], program)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
while again:
    child = start()
    print(child, flush=True)
    told = signal.sigwait([signal.SIGUSR1, signal.SIGTERM])
    again = told == signal.SIGUSR1
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
