"""A client of Ollama's API with one connection, run as a pod's application: `python chat_program.py HOST PORT`.

Each line of its input is a prompt; for each it prints a line of JSON: status, model, text, and the number of events. A
prompt that begins with `~` opens a new connection first. With a third argument that is what it asks, five times a second.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import time

# Cut short, for what was sent to a Service before the node's rules knew its pod gets no answer, and the next try does.
CONNECT_WITHIN = 10
ANSWER_WITHIN = 60


def prompts():
    if len(sys.argv) <= 3:
        yield from sys.stdin
    for _ in itertools.count() if len(sys.argv) > 3 else ():
        yield sys.argv[3]
        time.sleep(0.2)


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_WITHIN)
    connect(connection)
    print(json.dumps({"connected": True}), flush=True)
    for line in prompts():
        prompt = line.rstrip("\n")
        if prompt.startswith("~"):
            connection.close()
            prompt = prompt[1:]
        try:
            told = ask(connection, prompt)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            told = {"status": 0, "text": "", "broken": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


def connect(connection):
    connection.connect()
    connection.sock.settimeout(ANSWER_WITHIN)


def ask(connection, prompt):
    if connection.sock is None:
        connect(connection)
    body = {"model": "llama3", "messages": [{"role": "user", "content": prompt}]}
    connection.request("POST", "/api/chat", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    events = [json.loads(one) for one in answer.read().splitlines() if one.strip()]
    text = "".join(event.get("message", {}).get("content", "") for event in events)
    error = next((event["error"] for event in events if "error" in event), "")
    model = next((event["model"] for event in events if "model" in event), "")
    return {"status": answer.status, "text": text.strip(), "events": len(events), "error": error, "model": model}


if __name__ == "__main__":
    main()
