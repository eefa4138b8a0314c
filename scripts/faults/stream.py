"""Events of a job as a client sees them: gRPC over HTTP/2 on the service's Unix socket, as much of it as one call that
streams needs. `ftl` shows events to people; here their numbers and bytes count."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
LARGEST_WINDOW = (1 << 31) - 1
FIRST_WINDOW = 65_535


class Broken(Exception):
    """The connection ended before the stream did."""


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header(name, value):
    """A literal that goes into no table (RFC 7541, 6.2.2); both texts are short."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def fields(message):
    """(number, value) of a protobuf message: integers, or bytes."""
    at = 0

    def integer():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = integer()
        number, kind = key >> 3, key & 7
        if kind == 0:
            yield number, integer()
        elif kind == 2:
            length = integer()
            yield number, message[at : at + length]
            at += length
        else:
            size = {1: 8, 5: 4}[kind]
            yield number, message[at : at + size]
            at += size


def messages(path, method, request, timeout):
    """The messages of a server's stream, until it ends. `Broken` where it does not come to its end."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            # No table of headers, so that none need be kept in mind; windows that this test never fills.
            settings = struct.pack(">HIHI", 1, 0, 4, LARGEST_WINDOW)
            headers = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost")]
            headers += [("content-type", "application/grpc"), ("te", "trailers")]
            connection.sendall(
                PREFACE
                + frame(SETTINGS, 0, 0, settings)
                + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - FIRST_WINDOW))
                + frame(HEADERS, END_HEADERS, 1, b"".join(header(*each) for each in headers))
                + frame(DATA, END_STREAM, 1, b"\0" + struct.pack(">I", len(request)) + request)
            )
            yield from read(connection)
        except OSError as error:
            raise Broken(str(error)) from error


def read(connection):
    received = bytearray()
    body = bytearray()
    while True:
        chunk = connection.recv(1 << 16)
        if not chunk:
            raise Broken("the connection was closed")
        received += chunk
        while len(received) >= 9:
            length, kind, flags = int.from_bytes(received[:3], "big"), received[3], received[4]
            if len(received) < 9 + length:
                break
            payload = bytes(received[9 : 9 + length])
            stream = int.from_bytes(received[5:9], "big") & LARGEST_WINDOW
            del received[: 9 + length]
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                connection.sendall(frame(PING, ACK, 0, payload))
            elif kind == RST_STREAM and stream == 1:
                raise Broken("the stream was reset")
            elif kind == DATA and stream == 1:
                body += payload
                while len(body) >= 5:
                    size = int.from_bytes(body[1:5], "big")
                    if len(body) < 5 + size:
                        break
                    yield bytes(body[5 : 5 + size])
                    del body[: 5 + size]
            if kind in (DATA, HEADERS) and stream == 1 and flags & END_STREAM:
                return


def watch(path, job, after_seq=0, timeout=20):
    """(seq, bytes) of each event of a job; heartbeats, which come every 15 seconds, are left out."""
    request = b"\x0a" + varint(len(job)) + job.encode() + b"\x10" + varint(after_seq)
    for message in messages(path, "/ftl.v1.JobService/WatchEvents", request, timeout):
        for number, value in fields(message):
            if number == 1:
                yield dict(fields(value))[1], value


def step_of(event):
    """The step that an event reports; `None` where it reports none."""
    for number, value in fields(event):
        if number == 7:
            return dict(fields(value))[1]
    return None
