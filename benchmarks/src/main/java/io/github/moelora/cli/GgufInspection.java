package io.github.moelora.cli;

import io.github.moelora.gguf.GgufAdapter;
import io.github.moelora.gguf.GgufModule;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** What {@code inspect} shows of a GGUF adapter. */
final class GgufInspection {
  private GgufInspection() {}

  static Inspection of(AdapterFile.Gguf file) {
    GgufAdapter adapter = file.adapter();
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("name", adapter.name());
    facts.put("layout", "GGUF");
    facts.put("architecture", adapter.architecture());
    facts.put("alpha", adapter.alpha());
    return new Inspection(
        "%s: GGUF adapter for %s, alpha %s"
            .formatted(
                Output.printable(adapter.name()),
                Output.printable(adapter.architecture()),
                adapter.alpha()),
        facts,
        adapter.entries().stream().map(GgufInspection::row).toList(),
        denseRows(adapter.otherModules()),
        adapter.ignoredTensors(),
        file.warnings(),
        List.of());
  }

  private static Inspection.Row row(GgufAdapter.Entry entry) {
    return new Inspection.Row(
        entry.layer(),
        entry.linear().name().toLowerCase(Locale.ROOT),
        "0-" + (entry.experts() - 1),
        entry.rank(),
        entry.scale(),
        entry.a().type().name(),
        entry.bytes());
  }

  /** Modules by their names with the numbers taken out. */
  private static List<Inspection.DenseRow> denseRows(List<GgufModule> modules) {
    Map<List<Object>, List<GgufModule>> groups =
        modules.stream()
            .collect(
                Collectors.groupingBy(
                    module ->
                        List.of(
                            Output.printable(module.path().replaceAll("\\d+", "N")),
                            module.rank(),
                            module.scale(),
                            module.tensorA().type().name()),
                    LinkedHashMap::new,
                    Collectors.toList()));
    List<Inspection.DenseRow> rows = new ArrayList<>();
    groups.forEach(
        (group, list) ->
            rows.add(
                new Inspection.DenseRow(
                    group.getFirst().toString(),
                    list.size(),
                    list.getFirst().rank(),
                    list.getFirst().scale(),
                    list.getFirst().tensorA().type().name(),
                    list.stream().mapToLong(GgufInspection::bytes).sum())));
    return rows;
  }

  private static long bytes(GgufModule module) {
    return module.tensorA().data().byteSize() + module.tensorB().data().byteSize();
  }
}
