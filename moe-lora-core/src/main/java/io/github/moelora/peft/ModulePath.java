package io.github.moelora.peft;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/** Paths of modules as the model has them, without what wrappers and PEFT put in. */
final class ModulePath {
  private static final String PREFIX = "base_model.model.";

  /**
   * Parts of names that stand for a wrapper: of torch.compile, activation checkpointing, FSDP and
   * DDP.
   */
  private static final Set<String> WRAPPERS =
      Set.of("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module");

  /**
   * The same in expressions, but for {@code module}, which may be a part of a longer name there.
   */
  private static final Pattern IN_EXPRESSIONS =
      Pattern.compile("(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\\\\?\\.");

  private ModulePath() {}

  /** Takes the wrappers off at any place, then PEFT's prefix. */
  static String of(String name) {
    String path = withoutWrappers(name);
    return path.startsWith(PREFIX) ? path.substring(PREFIX.length()) : path;
  }

  private static String withoutWrappers(String name) {
    boolean wrapped = false;
    for (String wrapper : WRAPPERS) {
      wrapped |= name.contains(wrapper);
    }
    if (!wrapped) {
      return name;
    }
    List<String> kept = new ArrayList<>();
    for (String part : name.split("\\.", -1)) {
      if (!WRAPPERS.contains(part)) {
        kept.add(part);
      }
    }
    return String.join(".", kept);
  }

  /** An end of a name, as a list of the config has it, without wrappers. */
  static String end(String end) {
    return WRAPPERS.contains(end) ? end : withoutWrappers(end);
  }

  /** An expression of the config without wrappers. */
  static String expression(String regex) {
    return IN_EXPRESSIONS.matcher(regex).replaceAll("");
  }
}
