"""What the stock ADBC driver for Python does against a deployed study."""

import datetime
import decimal
import os
import warnings

import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager as adbc

warnings.simplefilter("ignore")  # it can't switch autocommit off
UTC = datetime.timezone.utc


def connect():
    return flightsql.connect(os.environ["CLOISTER_URI"], db_kwargs={"username": "anybody", "password": os.environ["CLOISTER_PASSWORD"]})


def count(cursor, where, *values):
    cursor.execute("SELECT COUNT(*) FROM colon WHERE " + where, values)
    return cursor.fetchall()[0][0]


def refused(cursor, words, text, *values):
    try:
        cursor.execute(text, values)
    except adbc.Error as e:
        assert words in str(e).split("\n")[0], e
        return
    raise AssertionError(text)


def catalogue(conn):
    info = conn.adbc_get_info()
    assert info["vendor_name"] == "Cloister", info
    assert conn.adbc_get_table_types() == ["TABLE"]
    (nowhere,) = conn.adbc_get_objects(depth="all").read_all().to_pylist()
    (schema,) = nowhere["catalog_db_schemas"]
    tables = {t["table_name"]: [c["column_name"] for c in t["table_columns"]] for t in schema["db_schema_tables"]}
    columns = ["id", "rx", "age", "nodes", "weight", "seen", "at", "smoker", "postcode", "state"]
    assert tables == {"colon": columns, "lung-2": columns}, tables
    fields = conn.adbc_get_table_schema("colon")
    assert fields.metadata[b"cloister.floor"] == b"5", fields.metadata
    assert fields.field("rx").metadata[b"cloister.role"] == b"dimension"
    assert fields.field("rx").metadata[b"ARROW:FLIGHT:SQL:REMARKS"] == b"Treatment."


def queries(cursor):
    cursor.execute("SELECT rx, COUNT(*) AS n, AVG(age) AS mean FROM colon GROUP BY rx")
    table = cursor.fetch_arrow_table()
    assert table.to_pylist() == [
        {"rx": "Lev", "n": 30, "mean": decimal.Decimal("42.000000")},
        {"rx": "Obs", "n": 30, "mean": decimal.Decimal("43.000000")},
    ], table.to_pylist()
    for key in [b"cloister.signature", b"cloister.floor", b"cloister.protected_against_differencing"]:
        assert table.schema.metadata.get(key), key
    ahead = cursor.adbc_prepare("SELECT rx, COUNT(*) FROM colon WHERE nodes = ? AND weight < ? GROUP BY rx")
    assert [str(t) for t in ahead.types] == ["int64", "decimal128(38, 2)"], ahead


def values(cursor):
    assert count(cursor, "nodes = ?", 3) == 10
    assert count(cursor, "nodes IN (?, ?)", 3, 4) == 20
    assert count(cursor, "weight = ?", decimal.Decimal("70.25")) == 10
    assert count(cursor, "weight = ?", 70.25) == 10
    assert count(cursor, "weight > ?", decimal.Decimal("70.255")) == 40
    assert count(cursor, "rx = ?", "Lev") == 30
    assert count(cursor, "smoker = ?", True) == 30
    assert count(cursor, "seen = ?", datetime.date(2022, 1, 9)) == 10
    assert count(cursor, "at < ?", datetime.datetime(2023, 11, 14, 22, 13, 20, 2000, UTC)) == 20
    assert count(cursor, "at < ?", datetime.datetime(2023, 11, 14, 22, 13, 20, 2000)) == 20
    where = "SELECT COUNT(*) FROM colon WHERE "
    refused(cursor, "PQ206_PREDICATE_SHAPE", where + "nodes = ?", None)
    refused(cursor, "PQ205_EXPR_NOT_ALLOWED", where + "weight = ?", 0.1 + 0.2)
    refused(cursor, "PQ205_EXPR_NOT_ALLOWED", where + "nodes = ?", "three")
    refused(cursor, "PQ205_EXPR_NOT_ALLOWED", where + "rx = ?", 3)
    refused(cursor, "PQ205_EXPR_NOT_ALLOWED", where + "nodes = ?", b"3")
    refused(cursor, "PQ201_NOT_AGGREGATED at 7..9: a plain column", "SELECT id FROM colon")
    try:
        cursor.executemany("SELECT COUNT(*) FROM colon WHERE nodes = ?", [(1,), (2,)])
        raise AssertionError("executemany")
    except adbc.Error as e:
        assert "read-only" in str(e), e


with connect() as conn, conn.cursor() as cursor:
    catalogue(conn)
    queries(cursor)
    values(cursor)
