package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Instances on chosen devices. */
class TwoDevicesTest {
  private static final MoeModel MODEL = new MoeModel(32, 24, 4, GateUp.HALVES, List.of(0));
  private static final ProjectionCall[] CALLS = {
    ProjectionCall.gateUp(0), ProjectionCall.down(0).deltaOnly()
  };

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Test
  void aDeviceByItsName() {
    Problem problem = new Problem(Seeds.of("by name"), MODEL, 5, 2).addAdapter(3, false).route();
    List<String> devices = new TornadoBackendProvider().devices();
    String name = devices.getFirst().substring(0, devices.getFirst().indexOf(','));
    MoeLoraConfig config = problem.config();
    // several alike have one name
    MoeLoraConfig chosen =
        devices.stream().filter(each -> each.startsWith(name)).count() == 1
            ? config.withDevice(name)
            : config.withDevice(0);
    try (MoeLora lora = MoeLora.open(chosen, "tornado")) {
      assertThat(lora.device()).isEqualTo(devices.getFirst());
      problem.check(lora, CALLS);
    }
  }

  @Test
  void refusesADeviceThatIsNotThere() {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, 2).withDevice(1000);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> MoeLora.open(config, "tornado"))
        .withMessageStartingWith("device must be in [0, ");
  }

  /** PoCL shows as many devices as its variable lists; GPUs are there or not. */
  @Test
  void instancesOnSeveralDevicesAtOnce() throws Exception {
    String output = OwnJvm.run(Several.class, Map.of("POCL_DEVICES", "pthread pthread"));
    assertThat(output).containsPattern("checked on \\d+ devices");
    if (output.contains("pthread")) {
      assertThat(output).contains("checked on 2 devices");
    }
  }

  /** One instance for each device, whose steps run at the same time. */
  static final class Several {
    private Several() {}

    public static void main(String[] args) throws Exception {
      List<String> devices = new TornadoBackendProvider().devices();
      System.out.println(devices);
      CyclicBarrier all = new CyclicBarrier(devices.size());
      List<Future<?>> running = new ArrayList<>();
      try (ExecutorService threads = Executors.newFixedThreadPool(devices.size())) {
        for (int i = 0; i < devices.size(); i++) {
          int index = i;
          running.add(
              threads.submit(
                  () -> {
                    run(index, all);
                    return null;
                  }));
        }
        for (Future<?> each : running) {
          each.get();
        }
      }
      System.out.println("checked on " + devices.size() + " devices");
      System.exit(0);
    }

    private static void run(int device, CyclicBarrier all) throws Exception {
      Problem problem =
          new Problem(Seeds.of("device " + device), MODEL, 9, 2)
              .types(DType.BF16, DType.BF16, DType.BF16)
              .addAdapter(8 + device, false)
              .addAdapter(3, true)
              .route();
      MoeLoraConfig config = problem.config().withDevice(device);
      try (MoeLora lora = MoeLora.open(config, "tornado");
          Step step = lora.newStep()) {
        problem.load(lora);
        all.await();
        for (int i = 0; i < 5; i++) {
          problem.route().plan(step);
          for (ProjectionCall call : CALLS) {
            problem.check(step, call);
          }
        }
      }
    }
  }
}
