#!/usr/bin/env python3
"""Writes the golden record batches of this folder.

Made with Python 3.11 and:

    pip install aiokafka==0.14.0 kafka-python==3.0.12 \\
        cramjam==2.14.0 lz4==4.4.5 python-snappy==0.7.3 zstandard==0.25.0

aiokafka writes each batch; kafka-python, another implementation, reads it back and must find
what was put in. None of Plimsoll's code takes part. NAME.bin is one batch; NAME.txt lists what it
holds:

    codec NAME | transactional 0 or 1 | producer ID EPOCH BASE_SEQUENCE
    record OFFSET TIMESTAMP_MS KEY VALUE [NAME=VALUE ...]      (a line for each record)

Bytes are `hex:` and hexadecimal digits, `null`, or `repeat:COUNT:` and the digits to repeat.
A header's name is always `hex:`. Compressed bytes depend on the compressor's version, so the files
are kept, not made anew.
"""

from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.default_records import DefaultRecordBatch

FOLDER = Path(__file__).parent
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
NOBODY = (-1, -1, -1)
NOW_MS = 1_700_000_000_000


class Repeat(bytes):
    """Bytes that the listing abbreviates: `unit`, `count` times."""

    def __new__(cls, unit, count):
        made = super().__new__(cls, unit * count)
        made.unit, made.count = unit, count
        return made


def shown(value):
    if value is None:
        return "null"
    if isinstance(value, Repeat):
        return f"repeat:{value.count}:{value.unit.hex()}"
    return "hex:" + value.hex()


def plain(value):
    return None if value is None else bytes(value)


def write(name, records, codec="none", producer=NOBODY, transactional=False):
    """`records`: (timestamp_ms, key, value, [(header name, header value), ...])"""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=CODECS.index(codec), is_transactional=transactional,
        producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2],
        batch_size=1 << 24,
    )
    for offset, (timestamp_ms, key, value, headers) in enumerate(records):
        headers = [(header, plain(content)) for header, content in headers]
        assert builder.append(offset, timestamp_ms, plain(key), plain(value), headers) is not None
    batch = bytes(builder.build())
    check(name, batch, records, codec, producer, transactional)

    lines = ["# written by generate.py", f"codec {codec}", f"transactional {int(transactional)}",
             "producer {} {} {}".format(*producer)]
    for offset, (timestamp_ms, key, value, headers) in enumerate(records):
        pairs = [f" {shown(header.encode())}={shown(value)}" for header, value in headers]
        lines.append(f"record {offset} {timestamp_ms} {shown(key)} {shown(value)}{''.join(pairs)}")
    (FOLDER / f"{name}.bin").write_bytes(batch)
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(f"{name}: {len(records)} records, {len(batch)} bytes")


def check(name, batch, records, codec, producer, transactional):
    read = DefaultRecordBatch(batch)
    assert read.validate_crc(), name
    assert read.compression_type == CODECS.index(codec), f"{name}: {read.compression_type}"
    assert read.is_transactional == transactional, name
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == producer, name
    assert read.max_timestamp == max(record[0] for record in records), name
    found = [(record.timestamp, record.key, record.value, list(record.headers)) for record in read]
    assert found == [(at, key, value, list(headers)) for at, key, value, headers in records], name


def log_lines(count):
    return [
        (NOW_MS + index // 3, f"host-{index % 7}".encode(),
         f"GET /item/{index * 7919 % 1000} 200 {index * 31 % 997} ms".encode(), [])
        for index in range(count)
    ]


def main():
    write("single", [(NOW_MS, b"key", b"value", [])])
    write("many", log_lines(1000))
    write("null_key", [(NOW_MS, None, b"value without a key", [])])
    write("null_value", [(NOW_MS, b"deleted", None, []), (NOW_MS, None, None, [])])
    write("empty_value", [(NOW_MS, b"", b"", []), (NOW_MS, b"key", b"", [])])
    write("headers", [
        (NOW_MS, b"k", b"v", [("trace", b"\x00\xff\x10"), ("trace", b"twice"), ("nothing", None)]),
        (NOW_MS, b"k", b"v", []),
        (NOW_MS, b"k", b"v", [("", b""), ("Größe", b"42"), ("long", Repeat(b"h", 300))]),
    ])
    write("unicode", [
        (NOW_MS, "ключ".encode(), "Größe: 5 µm, 値 🚢".encode(), []),
        (NOW_MS, "🚢".encode(), b"\xff\xfe not UTF-8 \x00", []),
    ])
    write("timestamps", [
        (NOW_MS, None, b"base", []),
        (NOW_MS - 86_400_000, None, b"a day earlier", []),
        (NOW_MS + 63, None, b"one byte of delta", []),
        (NOW_MS + 64, None, b"two bytes of delta", []),
        (0, None, b"1970", []),
        (2**53, None, b"far away", []),
    ])
    write("no_timestamp", [(-1, None, b"the producer had no clock", []), (-1, b"k", b"here", [])])
    write("large_values", [
        (NOW_MS, None, Repeat(b"x", size), [])
        for size in (62, 63, 64, 8_190, 8_191, 8_192, 70_000)
    ])
    write("idempotent", [(NOW_MS, b"k", b"first", []), (NOW_MS + 1, b"k", b"second", [])],
          producer=(4_611_686_018_427_387_905, 7, 2_147_483_000))
    write("transactional", [(NOW_MS, b"k", b"v", [])], producer=(9, 0, 0), transactional=True)
    for codec in CODECS[1:]:
        write(codec, log_lines(200), codec=codec)
    write("lz4_idempotent", log_lines(50), codec="lz4", producer=(1, 0, 100))


if __name__ == "__main__":
    main()
