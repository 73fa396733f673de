"""L5. stdin and stdout <-> the agent's socket: what an exec into its container runs. Imports little, to be quick."""

import os
import selectors
import socket
import time

SOCKET = "/run/clusterkit/agent.sock"
WAIT_SECONDS = 5.0
"""The agent may have been started this very moment."""


def connect() -> socket.socket:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(SOCKET)
        except OSError:
            made.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return made


def main() -> None:
    agent = connect()
    both = selectors.DefaultSelector()
    both.register(0, selectors.EVENT_READ)
    both.register(agent, selectors.EVENT_READ)
    while True:
        for key, _ in both.select():
            if key.fd == 0:
                said = os.read(0, 65536)
                if not said:
                    return
                agent.sendall(said)
            else:
                answer = agent.recv(65536)
                if not answer:
                    return
                while answer:
                    answer = answer[os.write(1, answer) :]


if __name__ == "__main__":
    main()
