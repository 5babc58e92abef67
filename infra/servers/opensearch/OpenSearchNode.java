import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.ServiceLoader;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.ExtensiblePlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.ScriptPlugin;
import org.opensearch.script.ScriptContext;
import org.opensearch.script.ScriptEngine;

/**
 * One OpenSearch node with its plugins on the class path: the published distribution is an archive, the libraries are
 * not. Without TLS, authentication and bootstrap checks, on loopback.
 *
 * <p>Vectors work with the engine `lucene`; `faiss` and `nmslib` need native libraries that are not here, and end the
 * process.
 *
 * <p>Arguments: a folder for data and logs, the HTTP port, then settings as name=value.
 */
public final class OpenSearchNode {
  private static final List<Class<? extends Plugin>> PLUGINS = plugins(
      "org.opensearch.transport.Netty4Plugin",
      "org.opensearch.index.reindex.ReindexPlugin",
      "org.opensearch.index.mapper.MapperExtrasPlugin",
      "OpenSearchNode$Painless",
      "org.opensearch.analysis.common.CommonAnalysisPlugin",
      "org.opensearch.geo.GeoModulePlugin",
      "org.opensearch.knn.plugin.KNNPlugin");

  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[0]).toAbsolutePath();
    Files.createDirectories(home.resolve("config"));
    Files.createDirectories(home.resolve("logs"));
    Settings.Builder settings = Settings.builder()
        .put("path.home", home.toString())
        .put("path.data", home.resolve("data").toString())
        .put("path.logs", home.resolve("logs").toString())
        .put("cluster.name", "headwater-servers")
        .put("node.name", "opensearch")
        .put("network.host", "127.0.0.1")
        .put("http.port", arguments[1])
        .put("transport.port", "0")
        .put("discovery.type", "single-node")
        .put("action.destructive_requires_name", true)
        // a full disk of the machine would turn writes into 429
        .put("cluster.routing.allocation.disk.threshold_enabled", false)
        // tests make many indexes side by side
        .put("cluster.max_shards_per_node", 5000);
    for (int i = 2; i < arguments.length; i++) {
      String[] pair = arguments[i].split("=", 2);
      settings.put(pair[0], pair[1]);
    }
    // As the distribution's launcher does: an Error in any thread ends the process, or its request would hang for ever.
    Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {
      System.err.println("uncaught in " + thread.getName());
      error.printStackTrace();
      if (error instanceof Error) {
        Runtime.getRuntime().halt(127);
      }
    });
    Node node = new WithPlugins(new Environment(settings.build(), home.resolve("config")));
    CountDownLatch closed = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        node.close();
      } catch (Exception error) {
        error.printStackTrace();
      } finally {
        closed.countDown();
      }
    }));
    try {
      node.start();
    } catch (Exception error) {
      error.printStackTrace();
      System.exit(1);
    }
    closed.await();
  }

  private static List<Class<? extends Plugin>> plugins(String... names) {
    List<Class<? extends Plugin>> found = new ArrayList<>();
    for (String name : names) {
      try {
        found.add(Class.forName(name).asSubclass(Plugin.class));
      } catch (ClassNotFoundException error) {
        throw new IllegalStateException("the plugin is not on the class path: " + name, error);
      }
    }
    return found;
  }

  private static final class WithPlugins extends Node {
    WithPlugins(Environment environment) {
      super(environment, PLUGINS, false);
    }
  }

  /** Painless with the functions of k-NN: a plugin on the class path is given no extensions, so they are handed over here. */
  public static final class Painless extends Plugin implements ScriptPlugin {
    private final PainlessPlugin painless = new PainlessPlugin();

    public Painless() {
      painless.loadExtensions(new ExtensiblePlugin.ExtensionLoader() {
        @Override
        public <T> List<T> loadExtensions(Class<T> type) {
          List<T> found = new ArrayList<>();
          ServiceLoader.load(type).forEach(found::add);
          return found;
        }
      });
    }

    @Override
    public ScriptEngine getScriptEngine(Settings settings, Collection<ScriptContext<?>> contexts) {
      return painless.getScriptEngine(settings, contexts);
    }

    @Override
    public List<ScriptContext<?>> getContexts() {
      return painless.getContexts();
    }

    @Override
    public List<Setting<?>> getSettings() {
      return painless.getSettings();
    }
  }
}
