import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.List;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.core.Utils;

/** pgjdbc: LISTEN by Statement.execute, getNotifications that waits. The programs' protocol stands in ../README.md. */
public class Pgjdbc {
    private static final PrintStream OUT =
            new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

    public static void main(String[] channels) throws SQLException {
        String plain = channels[0];
        List<String> others = Arrays.asList(channels).subList(1, channels.length);
        String url = "jdbc:postgresql://" + env("PGHOST") + ":" + env("PGPORT") + "/" + env("PGDATABASE");
        try (Connection db = DriverManager.getConnection(url, env("PGUSER"), env("PGPASSWORD"))) {
            each(db, "LISTEN", Arrays.asList(channels));
            OUT.println("{\"event\":\"listening\"}");
            PGConnection listener = db.unwrap(PGConnection.class);
            while (true) {
                for (PGNotification told : listener.getNotifications(0)) {
                    String payload = told.getParameter();
                    OUT.println("{\"channel\":" + json(told.getName()) + ",\"payload\":" + json(payload) + "}");
                    if (told.getName().equals(plain) && payload.contains("\"do\":\"unlisten\"")) {
                        each(db, "UNLISTEN", others);
                        OUT.println("{\"event\":\"unlistened\"}");
                    } else if (told.getName().equals(plain) && payload.contains("\"do\":\"listen\"")) {
                        each(db, "LISTEN", others);
                        OUT.println("{\"event\":\"listening\"}");
                    } else if (told.getName().equals(plain) && payload.contains("\"do\":\"stop\"")) {
                        return;
                    }
                }
            }
        }
    }

    private static String env(String name) {
        return System.getenv(name);
    }

    private static void each(Connection db, String word, List<String> channels) throws SQLException {
        for (String channel : channels) {
            try (Statement statement = db.createStatement()) {
                statement.execute(Utils.escapeIdentifier(new StringBuilder(word + " "), channel).toString());
            }
        }
    }

    private static String json(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
