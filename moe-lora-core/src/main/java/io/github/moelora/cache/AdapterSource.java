package io.github.moelora.cache;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.peft.PeftAdapter;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Objects;
import java.util.function.Function;

/**
 * Where an {@link AdapterCache} gets an adapter from, by name. Called by several threads at once;
 * never under a lock of the cache, so it may take its time.
 */
@FunctionalInterface
public interface AdapterSource {

  /**
   * Reads an adapter.
   *
   * @param arena lives as long as the cache keeps the adapter, and is closed by the cache: what the
   *     weights lie in is allocated from it or mapped into it, unless the garbage collector looks
   *     after it
   * @throws Exception for any reason; the requests that wait for this load get it as the cause of
   *     an {@link AdapterLoadException}, and the next one tries again
   */
  LoraAdapter read(String name, Arena arena) throws Exception;

  /**
   * What tells one state of an adapter from the next, such as time and size of its file. Asked at
   * every acquire, by the thread that acquires, so it should be cheap. When it differs from that of
   * the adapter at hand, new leases get the adapter read anew.
   *
   * @return a value with {@code equals}; the same one while nothing has changed
   * @throws Exception for any reason; the acquire fails with it
   */
  default Object version(String name) throws Exception {
    return "";
  }

  /**
   * Adapter directories as Hugging Face PEFT writes them; a name is the path of one. For names that
   * come from requests see {@link #directories(Path, MoeModel)}.
   */
  static AdapterSource directories(MoeModel model) {
    Objects.requireNonNull(model, "model must not be null");
    return new DirectorySource(null, file -> file.toLoraAdapter(model));
  }

  /**
   * Adapter directories as Hugging Face PEFT writes them; a name is the path of one below {@code
   * root}, and a name that leads elsewhere, by {@code ..} or a link, is refused.
   */
  static AdapterSource directories(Path root, MoeModel model) {
    Objects.requireNonNull(model, "model must not be null");
    return directories(root, file -> file.toLoraAdapter(model));
  }

  /**
   * The same, where more is to be said of how a file becomes an adapter: which shard of it is used,
   * or that dense modules which the model does not list are left out.
   *
   * @param part makes the adapter of an open file; it is copied before the file is closed
   */
  static AdapterSource directories(Path root, Function<PeftAdapter, LoraAdapter> part) {
    Objects.requireNonNull(root, "root must not be null");
    return new DirectorySource(root, Objects.requireNonNull(part, "part must not be null"));
  }
}
