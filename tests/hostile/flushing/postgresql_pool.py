"""A pool of PostgreSQL sessions over the real client library, as an application has one: what breaks is made anew.

    python postgresql_pool.py HOST SIZE

Prints a JSON object a second: `answers`, `broken` (sessions that had to be made anew, by number) and `wrong` answers.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import sys
import time

_GOOD = 0


def library():
    """libpq. Source: PostgreSQL documentation, chapter 'libpq - C Library'."""
    name = ctypes.util.find_library("pq")
    if name is None:
        sys.exit("libpq is not installed: apt-get install libpq5")
    pq = ctypes.CDLL(name)
    for function, result, arguments in (
        ("PQconnectdb", ctypes.c_void_p, (ctypes.c_char_p,)),
        ("PQexec", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
        ("PQgetvalue", ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)),
        ("PQstatus", ctypes.c_int, (ctypes.c_void_p,)),
        ("PQreset", None, (ctypes.c_void_p,)),
        ("PQclear", None, (ctypes.c_void_p,)),
        ("PQerrorMessage", ctypes.c_char_p, (ctypes.c_void_p,)),
    ):
        found = getattr(pq, function)
        found.restype, found.argtypes = result, arguments
    return pq


def main() -> None:
    host, size = sys.argv[1], int(sys.argv[2])
    pq = library()
    sessions = [pq.PQconnectdb(f"host={host} user=postgres dbname=postgres".encode()) for _ in range(size)]
    for session in sessions:
        if pq.PQstatus(session) != _GOOD:
            sys.exit(pq.PQerrorMessage(session).decode())
    answers, wrong, broken = 0, 0, [0] * size
    told = time.monotonic()
    while True:
        for number, session in enumerate(sessions):
            query = f"select {answers} + 1".encode()
            result = pq.PQexec(session, query)
            if pq.PQstatus(session) != _GOOD:
                broken[number] += 1
                pq.PQreset(session)
                if pq.PQstatus(session) != _GOOD:
                    sys.exit(f"cannot connect again: {pq.PQerrorMessage(session).decode()}")
                pq.PQclear(result)
                result = pq.PQexec(session, query)
            wrong += pq.PQgetvalue(result, 0, 0) != str(answers + 1).encode()
            pq.PQclear(result)
            answers += 1
        if time.monotonic() - told > 1:
            told = time.monotonic()
            print(json.dumps({"answers": answers, "broken": broken, "wrong": wrong}), flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
