#!/usr/bin/env python3
"""DNS and TLS for tools/image-check: `image-network.py NAMESERVER NAME CERTIFICATE KEY UPSTREAM`.

NAME is 127.0.0.1 to whoever asks at NAMESERVER; no other name exists. A port, which is printed, speaks TLS and passes everything on to
UPSTREAM. Each name that is asked for is printed once.
"""

import asyncio
import socket
import ssl
import sys

A = 1
NXDOMAIN = 3


def question(packet):
    """The name and the type that a DNS query asks for, and where the question ends."""
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(labels).lower(), int.from_bytes(packet[at + 1 : at + 3], "big"), at + 5


class Names(asyncio.DatagramProtocol):
    def __init__(self, name):
        self.name = name
        self.asked = set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, packet, client):
        asked, kind, end = question(packet)
        if asked not in self.asked:
            self.asked.add(asked)
            print("asked", asked, flush=True)
        known = asked == self.name
        flags = bytes([0x81, 0x80 if known else 0x80 | NXDOMAIN])
        answers, answer = b"\0\0", b""
        if known and kind == A:
            # The name is that of the question, the time to live a second.
            answers, answer = b"\0\1", b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton("127.0.0.1")
        self.transport.sendto(packet[:2] + flags + b"\0\1" + answers + b"\0\0\0\0" + packet[12:end] + answer, client)


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main():
    nameserver, name, certificate, key, upstream = sys.argv[1:]
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: Names(name), local_addr=(nameserver, 53))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, port = upstream.rsplit(":", 1)

    async def serve(reader, writer):
        api_reader, api_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, api_writer), pump(api_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print("tls", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
