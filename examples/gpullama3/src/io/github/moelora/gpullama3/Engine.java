package io.github.moelora.gpullama3;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Objects;
import org.beehive.gpullama3.inference.InferenceCore;
import org.beehive.gpullama3.inference.state.State;
import org.beehive.gpullama3.model.Model;
import org.beehive.gpullama3.model.loader.ModelLoader;
import org.beehive.gpullama3.tornadovm.TornadoVMMasterPlan;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** The engine with a model in it, driven a token at a time as its own generation loop does. */
final class Engine {
  private final Model model;
  private final State state;
  private @Nullable TornadoVMMasterPlan plan;

  private Engine(Model model) {
    this.model = model;
    state = model.createNewState();
  }

  /** Loads the weights; {@link #start} makes the plan. */
  static Engine load(Path file, int context) throws IOException {
    return new Engine(ModelLoader.loadModel(file, context, true, true));
  }

  /** What the engine's graphs work on. */
  State state() {
    return state;
  }

  /** Compiles all graphs and runs them once. */
  void start() {
    plan = TornadoVMMasterPlan.initializeTornadoVMPlan(state, model);
  }

  /** Logits after a token; the array is overwritten by the next. */
  FloatArray next(int token, int position) {
    return InferenceCore.forwardTornadoVM(model, state, token, position, plan());
  }

  void close() {
    plan().freeTornadoExecutionPlan();
  }

  private TornadoVMMasterPlan plan() {
    return Objects.requireNonNull(plan, "start must come first");
  }
}
