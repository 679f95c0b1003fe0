import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/** What the stock JDBC driver does against a deployed study. */
public class Jdbc {
  interface Binder {
    void bind(PreparedStatement s) throws SQLException;
  }

  static void same(Object got, Object want) {
    if (!want.equals(got)) {
      throw new AssertionError(got + ", not " + want);
    }
  }

  static List<String> column(ResultSet rows, String name) throws SQLException {
    List<String> all = new ArrayList<>();
    try (rows) {
      while (rows.next()) {
        all.add(rows.getString(name));
      }
    }
    return all;
  }

  static void count(Connection c, String where, String want, Binder b) throws SQLException {
    try (PreparedStatement s = c.prepareStatement("SELECT COUNT(*) AS n FROM colon WHERE " + where)) {
      b.bind(s);
      same(column(s.executeQuery(), "n"), List.of(want));
    }
  }

  static void refused(Connection c, String text, String words) throws SQLException {
    try (Statement s = c.createStatement()) {
      s.executeQuery(text);
    } catch (SQLException e) {
      same(e.getMessage().split("\n")[0].contains(words), true);
      return;
    }
    throw new AssertionError(text);
  }

  static void catalogue(DatabaseMetaData d) throws SQLException {
    same(d.getDatabaseProductName(), "Cloister");
    same(d.isReadOnly(), true);
    same(d.supportsTransactions(), false);
    same(d.getDefaultTransactionIsolation(), Connection.TRANSACTION_NONE);
    same(d.getMaxStatementLength(), 65536);
    same(d.getIdentifierQuoteString(), "\"");
    same(column(d.getCatalogs(), "TABLE_CAT"), List.of());
    same(column(d.getSchemas(), "TABLE_SCHEM"), List.of(""));
    same(column(d.getTables(null, null, "%", null), "TABLE_NAME"), List.of("colon", "lung-2"));
    same(column(d.getTables(null, null, "lung%", new String[] {"TABLE"}), "TABLE_NAME"), List.of("lung-2"));
    same(column(d.getColumns(null, null, "colon", "r%"), "REMARKS"), List.of("Treatment."));
    same(column(d.getPrimaryKeys(null, null, "colon"), "COLUMN_NAME"), List.of());
  }

  static void values(Connection c) throws SQLException {
    count(c, "nodes < ?", "40", s -> s.setLong(1, 4));
    count(c, "rx = ?", "30", s -> s.setString(1, "Lev"));
    count(c, "smoker = ?", "30", s -> s.setBoolean(1, true));
    count(c, "weight = ?", "10", s -> s.setBigDecimal(1, new BigDecimal("70.25")));
    count(c, "seen = ?", "10", s -> s.setDate(1, Date.valueOf("2022-01-09")));
    count(c, "at < ?", "20", s -> s.setTimestamp(1, Timestamp.from(Instant.parse("2023-11-14T22:13:20.002Z"))));
  }

  public static void main(String[] args) throws Exception {
    Properties p = new Properties();
    p.put("user", "anybody");
    p.put("password", System.getenv("CLOISTER_PASSWORD"));
    try (Connection c = DriverManager.getConnection(System.getenv("CLOISTER_URI"), p)) {
      catalogue(c.getMetaData());
      try (Statement s = c.createStatement()) {
        same(column(s.executeQuery("SELECT rx, COUNT(*) AS n FROM colon GROUP BY rx"), "n"), List.of("30", "30"));
      }
      values(c);
      refused(c, "SELECT id FROM colon", "PQ201_NOT_AGGREGATED at 7..9");
      refused(c, "DELETE FROM colon", "PQ210_STATEMENT_NOT_ALLOWED");
    }
  }
}
