"""Asks a web server at a fixed rate, whatever it answers, and prints a line of JSON for each request: what was asked and when,
the status (0: none), the host that has answered, and seconds from when the request was due until its answer was whole.
"""

import asyncio
import json
import sys
import time

PATIENCE = 30


async def ask(address, number, due, results):
    method = "POST" if number % 4 == 0 else "GET"
    status, host = 0, ""
    try:
        status, host = await asyncio.wait_for(exchange(address, method, number), PATIENCE)
    except (OSError, ValueError, IndexError, asyncio.TimeoutError, asyncio.IncompleteReadError):
        pass
    results.append({"method": method, "due": due, "status": status, "host": host, "took": time.time() - due})


async def exchange(address, method, number):
    reader, writer = await asyncio.open_connection(*address)
    try:
        body = b"x" * 100 if method == "POST" else b""
        head = "%s /?%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write((head % (method, number, len(body))).encode() + body)
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    length = [line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    if length and int(length[0]) != len(body):
        raise ValueError("a part of the response is missing")
    return status, body.decode() if status == 200 else ""


async def main(port, rate, seconds):
    results, running, begin = [], set(), time.time()
    for number in range(1, int(rate * seconds) + 1):
        due = begin + number / rate
        await asyncio.sleep(max(0, due - time.time()))
        task = asyncio.ensure_future(ask(("127.0.0.1", port), number, due, results))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
