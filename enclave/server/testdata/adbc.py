import os, datetime, decimal
import adbc_driver_flightsql.dbapi as fs
import pyarrow as pa
H = "adbc.flight.sql.authorization_header"
with fs.connect(os.environ["CLOISTER_URI"], db_kwargs={H: "Bearer " + os.environ["CLOISTER_TOKEN"]}) as c:
    print(c.adbc_get_info())
    print(c.adbc_get_objects(depth="all").read_all().to_pylist() )
    print(c.adbc_get_table_types())
    with c.cursor() as cur:
        cur.execute("SELECT rx, COUNT(*) AS n FROM colon GROUP BY rx")
        t = cur.fetch_arrow_table(); print(t.to_pylist(), t.schema.metadata)
    for where, p in [("nodes = ?", 3), ("weight = ?", decimal.Decimal("70.25")), ("weight = ?", 70.25), ("rx = ?", "Lev"), ("smoker = ?", True), ("seen = ?", datetime.date(2022,1,9)), ("at < ?", datetime.datetime(2023,11,14,22,13,20,2000, datetime.timezone.utc)), ("nodes = ?", None), ("weight = ?", 0.1+0.2)]:
        with c.cursor() as cur:
            try:
                cur.execute("SELECT COUNT(*) FROM colon WHERE " + where, (p,))
                print(where, p, cur.fetchall())
            except Exception as e:
                print(where, p, type(e), e)
    with c.cursor() as cur:
        try:
            cur.executemany("SELECT COUNT(*) FROM colon WHERE nodes = ?", [(1,),(2,)])
            print(cur.fetchall())
        except Exception as e:
            print(type(e), e)
    with c.cursor() as cur:
        try:
            cur.execute("SELECT id FROM colon")
        except Exception as e:
            print(type(e), e)
    try:
        print(c.adbc_get_table_schema("colon"))
    except Exception as e:
        print(type(e), e)
