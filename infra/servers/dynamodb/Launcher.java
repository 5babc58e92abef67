import com.sun.net.httpserver.HttpServer;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * DynamoDB Local, and a control port for what it does only with time.
 *
 * <pre>
 * POST /roll        close every open shard and open a child of it (the service: about every four hours)
 * POST /age?MS      make every stream record, shard and iterator MS milliseconds older (expiry, trimming, rolling)
 * </pre>
 *
 * Both are methods of the server's database object that no command-line option reaches, so they are found by
 * reflection. The object exists only after the first request to the server.
 *
 * <p>Arguments: the control port, then those of the server.
 */
public final class Launcher {
  private static final List<String> RUNNERS = List.of(
      "software.amazon.dynamodb.services.local.main.ServerRunner", // 3.x
      "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"); // 2.x
  private static final List<String> PACKAGES = List.of("software.amazon.dynamodb", "com.amazonaws.services.dynamodbv2");
  private static final int DEPTH = 6;

  public static void main(String[] arguments) throws Exception {
    Object server = runner()
        .getMethod("createServerFromCommandLineArgs", String[].class)
        .invoke(null, (Object) Arrays.copyOfRange(arguments, 1, arguments.length));
    server.getClass().getMethod("start").invoke(server);
    HttpServer control = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
    control.createContext("/", exchange -> {
      int status = 200;
      String answer = "done\n";
      try {
        String path = exchange.getRequestURI().getPath();
        String query = exchange.getRequestURI().getQuery();
        switch (path) {
          case "/roll" -> call(server, "triggerShardRollovers");
          case "/age" -> call(server, "dilateEventTimes", Long.parseLong(query));
          default -> {
            status = 404;
            answer = "known are /roll and /age?MS\n";
          }
        }
      } catch (ReflectiveOperationException | RuntimeException error) {
        error.printStackTrace();
        status = 500;
        answer = error + "\n";
      }
      byte[] bytes = answer.getBytes(StandardCharsets.UTF_8);
      exchange.sendResponseHeaders(status, bytes.length);
      exchange.getResponseBody().write(bytes);
      exchange.close();
    });
    control.start();
    server.getClass().getMethod("join").invoke(server);
  }

  private static Class<?> runner() throws ClassNotFoundException {
    for (String name : RUNNERS) {
      try {
        return Class.forName(name);
      } catch (ClassNotFoundException other) {
        // the other version's name
      }
    }
    throw new ClassNotFoundException("none of " + RUNNERS);
  }

  private static void call(Object server, String method, long... milliseconds) throws ReflectiveOperationException {
    Object database = database(server, 0, Collections.newSetFromMap(new IdentityHashMap<>()));
    if (database == null) {
      throw new IllegalStateException("send the server a request first");
    }
    if (milliseconds.length == 0) {
      database.getClass().getMethod(method).invoke(database);
    } else {
      database.getClass().getMethod(method, long.class).invoke(database, milliseconds[0]);
    }
  }

  private static Object database(Object from, int depth, Set<Object> seen) throws IllegalAccessException {
    if (from == null || depth > DEPTH || !seen.add(from)) {
      return null;
    }
    String name = from.getClass().getName();
    if (PACKAGES.stream().noneMatch(name::startsWith)) {
      return null;
    }
    for (Class<?> type : from.getClass().getInterfaces()) {
      if (type.getSimpleName().equals("AmazonDynamoDBLocal")) {
        return from;
      }
    }
    for (Class<?> type = from.getClass(); type != null && type != Object.class; type = type.getSuperclass()) {
      for (Field field : type.getDeclaredFields()) {
        if (field.getType().isPrimitive() || Modifier.isStatic(field.getModifiers()) || type.getName().startsWith("org.eclipse")) {
          continue;
        }
        field.setAccessible(true);
        Object value = field.get(from);
        for (Object next : value instanceof Map<?, ?> map ? map.values() : Collections.singletonList(value)) {
          Object found = database(next, depth + 1, seen);
          if (found != null) {
            return found;
          }
        }
      }
    }
    return null;
  }
}
