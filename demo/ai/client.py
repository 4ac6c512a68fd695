"""A program that uses OpenAI's Python library against Ollama, again and again: an application that knows no gateway.

    python3 client.py --url http://ollama:11434/v1 --model llama3.2

It prints the answer as it arrives, then the model's name as the answer tells it, or why there was none. Needs the package
openai.
"""

from __future__ import annotations

import argparse
import time

from openai import APIError, OpenAI


def ask(url: str, model: str, question: str) -> None:
    """Ask once, on a connection of its own, and print what comes."""
    # Ollama wants no key, and the library insists on one.
    with OpenAI(base_url=url, api_key="none") as client:
        print(f"> {question}", flush=True)
        try:
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], stream=True
            )
            answered_by = ""
            for chunk in stream:
                print(chunk.choices[0].delta.content or "", end="", flush=True)
                answered_by = chunk.model
            print(f"\n  [{answered_by}]", flush=True)
        except APIError as error:
            print(f"  [{type(error).__name__}: {error.message}]", flush=True)


def main() -> None:
    """Ask until the process is ended."""
    parser = argparse.ArgumentParser(description="Ask a model, again and again.")
    parser.add_argument("--url", default="http://ollama:11434/v1")
    parser.add_argument("--model", default="llama3.2")
    parser.add_argument("--question", default="Which model are you?")
    parser.add_argument("--seconds", type=float, default=10.0, help="between two questions")
    parser.add_argument("--times", type=int, help="how often (default: for ever)")
    options = parser.parse_args()
    asked = 0
    while options.times is None or asked < options.times:
        time.sleep(options.seconds if asked else 0)
        ask(options.url, options.model, options.question)
        asked += 1


if __name__ == "__main__":
    main()
